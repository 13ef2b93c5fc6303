"""Names that would lead out of the results folder, or that a shell would run: refused in one line, or harmless."""

import copy
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from default_config import DEFAULTS, SCHEMA
from fuzzing import EXAMPLES, ODD, fuzzed
from hypothesis import given, settings
from hypothesis import strategies as st
from package_index import digest, sdist, wheel
from tiny_data import ROOT
from workflow_run import CONFIG, Workspace

from lape import config as configuration
from lape.config import check_config
from lape.errors import LapeError
from lape.evaluation.judging.judge import rating
from lape.generation.settings import Setting, TextSetting
from lape.interventions.dose import Dose

HOSTILE = [
    *("../x", "../../x", "/etc/x", "x/../../y", "a/b", "..", ".", ".hidden", "-x", "--output", "~", "", " ", "a b"),
    *(
        "a\0b",
        "a\nb",
        "fr\n",
        "\n",
        "a\tb",
        "$(touch x)",
        "`touch x`",
        "a;b",
        "a|b",
        "a&b",
        "a>b",
        "'",
        '"',
        "a'b",
        "*",
    ),
    *("{language}", "{x}", "%", "\\", "é", "\ud800", "\u202e", "a" * 300 + "/"),
]
# Every place of the configuration that becomes a part of a path, as a change of the defaults.
PARTS = {
    "run": lambda name: {"run": name},
    "language": lambda name: {"languages": ["en", name]},
    "expert language": lambda name: {"expert_units": {"languages": ["en", name]}},
    "source language": lambda name: {"translation": {"source": name}},
    "model": lambda name: {"models": [name], "catalogue": {name: DEFAULTS["catalogue"]["gemma3-270m"]}},
    "unused model": lambda name: {"catalogue": {name: DEFAULTS["catalogue"]["gemma3-270m"]}},
    "download": lambda name: {"downloads": {name: DEFAULTS["downloads"]["wikilingua"]}},
    "save_as": lambda name: {"downloads": {"x": {**DEFAULTS["downloads"]["wikilingua"], "save_as": name}}},
    "file": lambda name: {"downloads": {"x": {"url": "http://h/{file}", "files": {name: "0" * 64}}}},
    "corpus of translations": lambda name: {"translation": {"corpora": {name: {"source": "questions"}}}},
    "task": lambda name: {"tasks": {name: DEFAULTS["tasks"]["multiemo"]}},
    "language of a task": lambda name: {"tasks": {"multiemo": {"languages": [name]}}},
    "method": lambda name: {"experiments": {"deactivation_by_method": {"methods": [name]}}},
    "prompt": lambda name: {"generation": {"prompts": [name]}},
    "dose": lambda name: {"steering": {"dose": name}},
    "further dose": lambda name: {"experiments": {"dose_response": {"doses": [name]}}},
    "ratio": lambda name: {"experiments": {"deactivation_by_ratio": {"ratios": [name]}}},
    "size": lambda name: {"expert_units": {"sizes": [name]}},
    "sha256": lambda name: {"downloads": {"x": {**DEFAULTS["downloads"]["wikilingua"], "sha256": name}}},
    "device": lambda name: {"catalogue": {"x": {**DEFAULTS["catalogue"]["gemma3-270m"], "device": name}}},
}


def merged(config: dict, change: dict) -> dict:
    """A configuration with a change, as Snakemake merges it."""
    config = copy.deepcopy(config)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(config.get(key), dict)
        config[key] = merged(config[key], value) if both else value
    return config


@pytest.mark.parametrize("part", PARTS)
def test_names_that_are_no_names(monkeypatch, part):
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    monkeypatch.setattr(configuration.yaml, "safe_load", lambda text: schema)  # a second each time
    for name in HOSTILE:
        with pytest.raises(LapeError) as caught:
            check_config(merged(DEFAULTS, PARTS[part](name)), SCHEMA)
        assert str(caught.value).startswith("config ") and len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("key", ["generation.template", "corpus.files.pattern", "downloads.wikilingua.version"])
@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_text_that_no_command_line_can_carry(key, value):
    first, *rest = key.split(".")
    change = {first: {rest[0]: {rest[1]: value}} if len(rest) == 2 else {rest[0]: value}}
    with pytest.raises(LapeError, match=f"config {key}: .* NUL character or half a surrogate pair; take it out"):
        check_config(merged(DEFAULTS, change), SCHEMA)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"generation": {"suffixes": {False: " Svar"}}}, "YAML reads the key False as bool; put it in quotes"),
        ({"neurons": {"ratio": float("nan")}}, "config neurons.ratio: is no number"),
        ({"tokens": {"seed": 10**30}}, "config tokens.seed: is no number that a computer counts with"),
        ({"experiments": {"dose_response": {"doses": [f"set-all-{'9' * 400}-1"]}}}, "steering strength: inf"),
        (
            {"downloads": {"x": {"url": "http://h/{file}", "files": {"x": "0" * 64, "x.json": "0" * 64}}}},
            "config downloads.x.files: x.json and x.log are ours",
        ),
    ],
)
def test_values_that_no_schema_refuses(change, message):
    with pytest.raises(LapeError, match=message.replace("(", r"\(")):
        check_config(merged(DEFAULTS, change), SCHEMA)


def test_configurations_at_random(monkeypatch):
    """Any YAML tree in the place of any value, and any key: accepted, or refused in one line."""
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    monkeypatch.setattr(configuration.yaml, "safe_load", lambda text: schema)
    odd = st.one_of(ODD, st.sampled_from([*HOSTILE, b"x", {1: 2}, {None: None}, float("nan")]), st.dates())

    def places(node: object, place: tuple = ()):
        for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            yield (*place, key)
            yield from places(node[key], (*place, key))

    @settings(fuzzed, max_examples=EXAMPLES or 150)
    @given(st.lists(st.tuples(st.sampled_from(list(places(DEFAULTS))), odd, st.booleans()), min_size=1, max_size=3))
    def run(changes):
        config = copy.deepcopy(DEFAULTS)
        for place, value, as_key in changes:
            node = config
            for key in place[:-1]:
                fits = (isinstance(node, dict) and key in node) or (isinstance(node, list) and key < len(node))
                node = node[key] if fits else None
            if isinstance(node, dict) and as_key and not isinstance(value, dict | list):
                node[value] = node.get(place[-1])
            elif isinstance(node, dict) or (isinstance(node, list) and place[-1] in range(len(node))):
                node[place[-1]] = value
        try:
            check_config(config, SCHEMA)
        except LapeError as error:
            assert len(str(error).splitlines()) == 1

    run()


@fuzzed
@given(st.one_of(st.text(), st.from_regex(r"(steered|cross-fr|deactivated-..)@(set|max)-all-[0-9.e]{1,5}-[0-9.]{1,4}")))
def test_settings_at_random(text):
    """What is a setting is written as one; anything else is refused."""
    for parse in (lambda: Setting.parse(text, Dose()), lambda: TextSetting.parse(text), lambda: Dose.parse(text)):
        try:
            parse()
        except LapeError as error:
            assert len(str(error).splitlines()) == 1


@fuzzed
@given(st.one_of(st.text(), st.from_regex(r"(Rating: )?\[\[[0-9.]{1,400}\]\](\[\[[0-9.]{1,4}\]\])?")))
def test_verdicts_at_random(verdict):
    found = rating(verdict)
    assert found is None or 1 <= found <= 10


# Archives and the command line.


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/../../../x", "..\\x"])
def test_archives_whose_members_lead_elsewhere(index, tmp_path, lape, name):
    """Members are joined, never unpacked: no name of theirs becomes a path."""
    index.add("data", "data-1.0-py3-none-any.whl", wheel({name: b"bytes"}))
    index.add("text", "text-1.0.tar.gz", sdist({f"text-1.0/{name}": b"bytes"}))
    for package in ("data", "text"):
        folder = tmp_path / package
        folder.mkdir()
        words = ["--package", package, "--version", "1.0", "--file", "*", "--sha256", digest(b"bytes")]
        status, messages = lape("download", *words, "--index", index.url, "--output", folder / "x")
        assert status == 0, messages
        assert sorted(path.name for path in folder.iterdir()) == ["x", "x.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "text"]


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "", ".x", "-x", "a\nb", "a b", "all"])
def test_languages_of_released_files(stages, lape, name):
    """They become names of files."""
    for words in (
        ["counts", f"{name}=x.pth", "--name", "x", "--output", "out"],
        ["neurons", "x.pth", f"--languages={name}", "--output", "out/x.tsv"],
    ):
        with pytest.raises(SystemExit) as ended:
            lape("import", *words)
        assert ended.value.code == 2
    assert not Path("out").exists()


# Through Snakemake.

TEXT = "-{source} $(touch ran)'\";{x}"  # with the sentence within the tiny model's context
EVIL = {
    "corpus": {"files": {"pattern": "texts/{language}/*"}, "language_check": "off"},
    "translation": {**CONFIG["translation"], "template": TEXT, "stop": ["{x}'", "$(touch ran)"]},
    "downloads": {
        "evil": {
            "packages": ["x; touch ran", "-y", "$(touch ran)"],
            "version": "-1 `touch ran`",
            "file": "*'$(touch ran)",
            "save_as": "evil",
            "sha256": "0" * 64,
        }
    },
}


@pytest.mark.workflow
def test_configured_text_arrives_unchanged_and_is_never_run(tmp_path, programs):
    run = Workspace.create(tmp_path / "run", programs)
    run.configure(**EVIL)
    texts, download = "results/tiny/generations/tiny/translation-questions/none.json", "results/downloads/evil/evil"
    assert "touch ran" in run.snakemake("--dry-run", "--printshellcmds", texts, download)
    run.run(texts)
    header = yaml.safe_load((run.folder / texts).read_text(encoding="utf-8"))
    assert header["parameters"]["template"] == TEXT
    assert header["parameters"]["stop"] == EVIL["translation"]["stop"]
    os.environ["LAPE_INDEX"] = "http://127.0.0.1:1/simple/"
    try:
        output = run.snakemake("--cores", "1", "--retries", "0", download, status=1)
    finally:
        del os.environ["LAPE_INDEX"]
    assert "lape download: " in output and "unexpected error" not in output
    assert not list(tmp_path.rglob("ran"))


@pytest.mark.workflow
@pytest.mark.parametrize(
    "text",
    [
        "run: ../outside",
        "languages: [en, 'fr\n\n']",
        "tokens: 3",
        "catalogue: null",
        "models: {a: b}",
        "corpus: [1, 2]",
        "steering: {dose: 'set-all-1-1;x'}",
        'generation: {template: "a\\0b"}',
        "generation: {suffixes: {no: x}}",
    ],
)
def test_snakemake_refuses_without_a_traceback(tmp_path, programs, text):
    (tmp_path / "bad.yaml").write_text(text, encoding="utf-8")
    words = [programs / "snakemake", "--snakefile", ROOT / "Snakefile", "--configfile", "bad.yaml", "--cores", "1"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0 and "Traceback" not in done.stderr, done.stderr
    assert "config " in done.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"bad.yaml", ".snakemake"}
    assert not (tmp_path.parent / "outside").exists()
