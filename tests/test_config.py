"""The configuration: the schema, the defaults and their description say the same, and mistakes are named."""

import copy
import re

import config_tables
import jsonschema
import pytest
import yaml
from config_tables import leaves
from default_config import DEFAULTS, SCHEMA
from tiny_data import ROOT

from lape.config import check_config, expand_paths, read_config
from lape.errors import LapeError


def lookup(config: dict, dotted: str):
    for key in dotted.split("."):
        config = config[key]
    return config


def test_schema_and_defaults_agree():
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    check_config(DEFAULTS, SCHEMA)
    for key, value in leaves(schema):
        assert value.get("description"), f"{key} has no description"
        if key not in ("catalogue", "tasks", "downloads"):  # mappings that users extend
            assert lookup(DEFAULTS, key) == value["default"], key
    # Nothing in the defaults that the schema does not name is possible: additionalProperties is false everywhere.
    assert schema["additionalProperties"] is False


def test_config_readme_says_what_the_schema_says():
    readme, schema = (
        config_tables.README.read_text(encoding="utf-8"),
        yaml.safe_load(SCHEMA.read_text(encoding="utf-8")),
    )
    assert config_tables.tables(readme, schema) == readme, "run `make format`"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"langauges": ["en", "fr"]}, "unknown key 'langauges'; did you mean 'languages'"),
        ({"tokens.trian": 5}, "config tokens: unknown key 'trian'; did you mean 'train'"),
        ({"languages": ["en", "xx"]}, "config languages: the embedded text has no 'xx'"),
        ({"languages": ["en"]}, "config languages: name two or more in place of ['en']"),
        ({"models": []}, "config models: name one or more in place of []"),
        ({"languages": ["en", False]}, "YAML reads the word there as False; put it in quotes"),
        ({"corpus.language_check": False}, "config corpus.language_check: YAML reads the word"),
        ({"scores.fasttext": "lid.bin", "scores.identifiers": []}, "no identifier reads it; add fasttext to scores."),
        ({"corpus.source": "hub", "corpus.hub.newest": 9, "corpus.hub.id_column": None}, "name the id_column"),
        ({"models": ["gemma3-270"]}, "'gemma3-270' is not in the catalogue; did you mean 'gemma3-270m'"),
        ({"corpus.embedded.download": "wikilingu"}, "corpus.embedded.download: 'wikilingu' is not in downloads"),
        ({"catalogue.gemma3-270m": {"source": "embedded", "download": "x"}}, "catalogue.gemma3-270m.download: 'x'"),
        ({"catalogue.gemma3-270m": {"source": "hub", "hub": "a/b"}}, "key 'revision' is missing"),
        ({"catalogue.gemma3-270m.languages": ["en", "sw"]}, "catalogue.gemma3-270m.languages: fewer than two"),
        (
            {"experiments.models": {"deactivation_by_model": ["x"]}},
            "config experiments.models.deactivation_by_model: 'x' is not in the catalogue",
        ),
        ({"experiments.models": {"figur3": ["x"]}}, "config experiments.models: 'figur3' is not one of"),
        ({"catalogue.gemma3-270m.device": "mps"}, "'mps' does not match; write one of auto, cpu, cuda and cuda:N"),
        ({"models": ["Qwen/Qwen3-1.7B"]}, "'Qwen/Qwen3-1.7B' does not match; write a name of letters, digits"),
        ({"neurons.ratio": 0}, "config neurons.ratio: 0 is less than"),
        ({"neurons.ratio": "1e-2"}, "config neurons.ratio: YAML reads 1e-2 as text; write 1.0e-02"),
        ({"tokens.valid": "30000"}, "config tokens.valid: YAML reads 30000 as text; take its quotes away"),
        ({"neurons.ratio": "1%"}, "config neurons.ratio: '1%' is not of type 'number'"),
        ({"tokens.chunk_length": 1}, "config tokens.chunk_length: 1 is less than the minimum of 2"),
        ({"run": "../outside"}, "config run: '../outside' does not match"),
        ({"languages": ["en", "../fr"]}, "does not match"),
        ({"downloads.x": {"url": "http://h/{file}"}}, "config downloads.x: key 'files' is missing"),
        (
            {"downloads.wikilingua.url": "http://h/x"},
            "config downloads.wikilingua: unknown key 'packages'; known: files, url",
        ),
        (
            {"downloads.x": {"url": "http://me:pw@h/x", "files": {"x": "0" * 64}}},
            "downloads.x.url: holds a name or password",
        ),
        ({"expert_units.languages": ["en", "xx"]}, "config expert_units.languages: the embedded text has no 'xx'"),
        ({"expert_units.languages": ["en", "all"]}, "config expert_units.languages: 'all' names a row"),
        ({"expert_units.sizes": [0]}, "config expert_units.sizes.0: 0 is less than"),
        ({"sentences.source": "hub"}, "config sentences.hub.datasets: names none"),
        ({"translation.corpora": {"../x": {"source": "questions"}}}, "does not match"),
        ({"translation.corpora": {"x": {"source": "hup"}}}, "config translation.corpora.x.source: 'hup' is not one of"),
        ({"translation.corpora.questions.languages": ["jp"]}, "'jp' is no language of the expert units; they have en"),
        ({"translation.corpora.x": {"source": "files"}}, "config translation.corpora.x: key 'pattern' is missing"),
        ({"translation.corpora.x": {"source": "files", "pattern": {"en": "x"}}}, "no glob for language 'zh'"),
        (
            {"sentences.source": "files", "sentences.files.pattern": {"en": "x"}},
            "config sentences.files.pattern: no glob for language 'zh'",
        ),
        (
            {"tasks.multiemo.template": "{question}"},
            "config tasks.multiemo.template: '{question}' has no {question}, or",
        ),
        ({"tasks.multiemo.download": "x"}, "config tasks.multiemo.download: 'x' is not in downloads"),
        ({"tasks.multiemo.source": "files"}, "config tasks.multiemo: key 'pattern' is missing; name the files"),
        (
            {"tasks.x": {"source": "embedded", "languages": [], "template": "{question}{choice}"}},
            "'download' is missing",
        ),
        (
            {"tasks.multiemo.source": "harness"},
            "config tasks.multiemo: key 'name' is missing; name a task of the harness",
        ),
        (
            {"experiments.downstream.methods": ["ap"]},
            "config experiments.downstream.methods.0: 'ap' is not one of",
        ),
        ({"corpus.source": "file"}, "config corpus.source: 'file' is not one of"),
        ({"corpus.source": "files", "corpus.files.pattern": {"en": "x"}}, "no glob for language 'zh'"),
    ],
)
def test_mistakes_are_named_in_one_line(change, message):
    config = copy.deepcopy(DEFAULTS)
    for dotted, value in change.items():
        *path, key = dotted.split(".")
        section = config
        for name in path:
            section = section[name]
        section[key] = value
    with pytest.raises(LapeError) as caught:
        check_config(config, SCHEMA)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_paths_may_hold_the_home_and_variables(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("SCRATCH", "/scratch")
    config = copy.deepcopy(DEFAULTS)
    config["catalogue"]["own"] = {"source": "path", "path": "~/models/own"}
    config["corpus"]["files"]["pattern"] = {"fr": "$SCRATCH/{language}/*", "en": "${SCRATCH}/en"}
    config["judge"]["template"] = None
    expand_paths(config)
    assert config["catalogue"]["own"]["path"] == "/home/me/models/own"
    assert config["corpus"]["files"]["pattern"] == {"fr": "/scratch/{language}/*", "en": "/scratch/en"}
    assert config["questions"] == DEFAULTS["questions"] and config["judge"]["template"] is None
    config["structure"]["aligned"] = "$NOWHERE/{language}"
    with pytest.raises(LapeError, match=r"config structure.aligned: the environment has no variable \$NOWHERE"):
        expand_paths(config)
    config["structure"]["aligned"] = None
    config["catalogue"]["own"]["path"] = "models/mod{el}"
    with pytest.raises(LapeError, match=r"config catalogue.own.path: Snakemake takes \{el\} for a wildcard; rename"):
        expand_paths(config)


def test_a_missing_section_is_named():
    with pytest.raises(LapeError, match="config the top level: key 'tokens' is missing"):
        check_config({key: value for key, value in DEFAULTS.items() if key != "tokens"}, SCHEMA)


@pytest.mark.parametrize("file", ["config/paper.yaml", "config/modern.yaml"])
def test_documented_commands_name_targets_behind_two_dashes(file):
    """--configfile takes several files: what comes behind it without `--` would be read as one more."""
    text = (ROOT / file).read_text(encoding="utf-8")
    named = re.findall(r"snakemake .*--configfile ([^#\n]*)", text)
    words = [word for line in named for word in line.split(" --")[0].split()]
    assert words and all(word.endswith(".yaml") for word in words)


def test_environments_have_the_same_pins():
    conda = yaml.safe_load((ROOT / "envs" / "lape.yaml").read_text())
    pip = next(entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict))
    lines = (ROOT / "envs" / "requirements.txt").read_text().splitlines()
    requirements = [line for line in lines if line and not line.startswith("#")]
    assert pip == requirements
    assert all("==" in line for line in requirements)


def test_the_package_depends_on_nothing_unpinned():
    import tomllib

    content = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = content["project"]
    lines = (ROOT / "envs" / "requirements.txt").read_text().splitlines()
    pinned = {line.split("==")[0] for line in lines if "==" in line}
    assert {requirement.split(">=")[0] for requirement in project["dependencies"]} <= pinned
    (torch,) = (need for need in content["build-system"]["requires"] if need.startswith("torch"))
    assert torch in lines


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: mine\nlanguages: [en, fr\nmodels: [m]\n", ", line 3: is no YAML (did not find expected ',' or ']')"),
        ("run: mine\n\tlanguages: en\n", ", line 2: is no YAML (found"),
        ("run: \x00\n", ": is no YAML ("),
        ("- en\n", ": has no keys; write `key: value`"),
        ("", ": has no keys"),
        (None, ": cannot be read (No such file or directory)"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path, text, message):
    path = tmp_path / "my.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(LapeError) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}{message}")
