"""The command line itself: its help, its groups of commands, and what it says to a wrong word."""

import re

import pytest

from lape.cli import COMMANDS, GROUPS, command_parser, main


def ended(capsys, *words: str) -> tuple[int, str]:
    """The exit status of a command line that ends in its parser, and what it printed."""
    with pytest.raises(SystemExit) as end:
        main([*words])
    out = capsys.readouterr()
    return end.value.code, out.out + out.err


@pytest.mark.parametrize("words", [["--help"], []])
def test_help_has_every_command_in_its_group(capsys, words):
    status, text = ended(capsys, *words)
    assert status == 0 and next(iter(GROUPS)) == "start here"
    blocks = {block.partition(":\n")[0]: block.partition(":\n")[2] for block in text.split("\n\n")}
    for group, commands in GROUPS.items():
        assert [line.split()[0] for line in blocks[group].splitlines()] == list(commands)
    assert len(COMMANDS) == sum(map(len, GROUPS.values()))  # none is in two groups


def test_version(capsys):
    status, text = ended(capsys, "--version")
    assert status == 0 and text.startswith("lape 0.")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["perplexit"], "lape: error: there is no command 'perplexit'; did you mean 'perplexity'?"),
        (["table", "figre2", "x.json"], "no table is called 'figre2'; did you mean 'figure2'?"),
        (["figure", "neurons_per_langauge", "x.csv"], "no figure is called 'neurons_per_langauge'; did you mean"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(capsys, words, message):
    status, text = ended(capsys, *words)
    assert status == 2 and message in text


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_explains_its_options_before_the_workflows(name):
    parser = command_parser(name)
    assert all(action.help or action.dest == "kind" for action in parser._actions)
    own, _, workflow = parser.format_help().partition("\nfor the workflow:\n")
    of_all = {"--log", "--rule", "--gpus"}
    assert of_all == set(re.findall("^  (--[a-z-]+)", workflow, re.MULTILINE))
    assert of_all.isdisjoint(re.findall("^  (--[a-z-]+)", own, re.MULTILINE))


def test_help_shows_defaults_and_paragraphs():
    text = command_parser("statistics").format_help()
    assert "parts that are saved one by one (default: 8)" in text and "(default: 0)" in text
    assert "interruption.\n\nSeveral jobs" in text
    assert "(default: False)" not in text and "(default: None)" not in text
