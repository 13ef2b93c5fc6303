"""The pages: what they link to is there, what they tell a reader to type works, and the site builds from them."""

import argparse
import copy
import importlib.util
import itertools
import re
import shlex
from collections.abc import Iterator
from functools import cache, partial

import pytest
import yaml
from default_config import DEFAULTS, SCHEMA
from messages import errors, warnings
from tiny_data import ROOT, make_model, make_text

import lape
from lape.cli import COMMANDS, command_parser
from lape.config import check_config
from lape.items.registry import ITEMS

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for place in ("*.md", "docs/*.md", "docs/reference/*.md", "config/**/*.md", "results/README.md", "bench/README.md")
    for path in ROOT.glob(place)
)
# The language of the tiny texts that stands for one that they lack.
STAND_IN = {"zh": "ja"}
FENCE = re.compile(r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S)


@cache
def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, kind: str) -> list[str]:
    """The fenced blocks of a page in a language that are not marked with a reason not to run them."""
    return [match["text"] for match in FENCE.finditer(text(page)) if match["kind"] == kind and not match["reason"]]


def having(kind: str) -> list[str]:
    return [page for page in PAGES if blocks(page, kind)]


@cache
def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text(page)), re.M)
    plain = (re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in plain}


def typed(page: str) -> Iterator[list[str]]:
    """The words of the commands that a page shows, in blocks and in running text, but for what a reader fills in."""
    prose = re.sub(r"^\| `[\w.<>]+` \|.*$", "", FENCE.sub("", text(page)), flags=re.M)  # without the tables of keys
    lines = [line for kind in ("sh", "bash", "shell", "console") for line in "".join(blocks(page, kind)).splitlines()]
    lines += re.findall(r"^    (\S.*)$", prose, re.M) + re.findall(r"`((?:lape|snakemake|make) [^`]+)`", prose)
    for line in lines:
        words = shlex.split(line.removeprefix("$ ").removeprefix(".venv/bin/"), comments=True)
        yield [word for word in words if not re.search(r"\.\.\.|<\w+>|[A-Z]{4}", word)]


def targets() -> set[str]:
    return set(re.findall(r"^rule (\w+):", text("Snakefile"), re.M)) | {
        name for item in ITEMS for name in (item.name, *item.aliases)
    }


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text(page))):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        file = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.relative_to(ROOT).as_posix()), target


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_a_page_names_no_item_that_is_not_there(page):
    """Items are known by a few first words of their names, or by what the papers call them."""
    like = "deactivation|answers|example_(?:deactivated|cross)|neurons_per|similarity_by|dominance_by|expert"
    assert set(re.findall(rf"`((?:figure|tables?)\d[\d_]*|(?:{like})_\w+)`", text(page))) <= targets()


@pytest.mark.parametrize("page", having("python"))
def test_python_of_a_page_runs(page, tmp_path, monkeypatch):
    """The blocks of a page run one after another, with a tiny model in place of the example's, and short answers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.chdir(tmp_path)
    folder = make_model(tmp_path / "tiny", intermediate_size=512, max_position_embeddings=128)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    monkeypatch.setattr(lape, "example_model", lambda *_: (model, tokenizer))
    monkeypatch.setattr(lape, "example_texts", lambda code, **_: [make_text(STAND_IN.get(code, code), 200, 0)])
    monkeypatch.setattr(lape, "answer", partial(lape.answer, max_tokens=4))
    names: dict = {}
    for number, block in enumerate(blocks(page, "python"), 1):
        exec(compile(block, f"{page}, block {number}", "exec"), names)


@pytest.mark.parametrize("page", having("yaml"))
def test_yaml_of_a_page_is_a_configuration(page):
    """Each block is merged over the defaults, as `--configfile` does it."""
    from snakemake.utils import update_config

    for block in blocks(page, "yaml"):
        config = copy.deepcopy(DEFAULTS)
        update_config(config, yaml.safe_load(block))
        check_config(config, SCHEMA)


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_page_exist(page):
    from snakemake.cli import get_argument_parser

    for words in typed(page):
        match words:
            case ["lape", "--help" | "--version"] | ["lape"]:
                pass
            case ["lape", name, *arguments]:
                assert name in COMMANDS, words
                own = itertools.takewhile(lambda word: word != "--", arguments)  # others belong to another program
                options = {word.partition("=")[0] for word in own if word.startswith("--")}
                assert options <= options_of(name), words
            case ["snakemake", *arguments]:
                given = get_argument_parser(profiles=[]).parse_args(arguments)
                assert set(given.targets) <= targets(), words
                # --configfile takes several files: a target that comes behind it without `--` would be one more.
                assert all(path.suffix == ".yaml" for path in given.configfile or []), words
            case ["make", *names]:
                assert set(names) <= set(re.findall(r"^([\w-]+):", text("Makefile"), re.M)), words
            case ["python", "-m", module, *_]:
                assert importlib.util.find_spec(module), words
            case _:
                assert not words or words[0] in ("source", "export", "git", "cd", "pip", "cp"), words


def options_of(name: str) -> set[str]:
    """All options of a command, those of its own commands included."""
    return set(re.findall(r"--[\w-]+", _help(name)))


@cache
def _help(name: str) -> str:
    parser = command_parser(name)
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return parser.format_help() + "".join(own.format_help() for action in inner for own in action.choices.values())


def test_the_likely_messages_are_those_of_the_code():
    quoted = re.findall(r"^> (.*)$", text("docs/troubleshooting.md"), re.M)
    messages = [message for _, message in (*errors(), *warnings())]
    assert len(quoted) > 9
    assert [quote for quote in quoted if not any(quote in message for message in messages)] == []


def test_the_site_builds_without_a_warning(tmp_path, monkeypatch):
    """The build takes nothing from the network, and neither do its pages; every public name has its place."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    monkeypatch.chdir(ROOT)
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True))
    html = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "site").rglob("*.html"))
    assert re.findall(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"?(?:https?:)?//[^\" ]*", html) == []
    places = set(re.findall(r"<h3 id=\"lape\.[\w.]*?(\w+)\"", (tmp_path / "site/reference/api.html").read_text()))
    assert places == set(lape.__all__)
    commands = (tmp_path / "site/reference/commands.html").read_text()
    assert set(re.findall(r"<h3 id=\"lape-(\w+)\"", commands)) == set(COMMANDS)
    assert "filled in:" not in html
