"""The command: answers in the terminal, and a line where gradio is missing."""

import sys

import pytest
from played_run import PROMPT


def test_answers_are_printed(ask, printed, run_folder):
    found = ask(off=["fr"], on="ja", dose="add-all-2-1")
    status, out, _ = printed(run_folder, f"--ask={PROMPT}", "--off", "fr", "--on", "ja", "--dose", "add-all-2-1")
    names = ("as it is", "fr off, ja on")
    sides = (found.normal, found.switched)
    for name, side in zip(names, sides, strict=True):
        codes = ", ".join(f"{identifier}: {code}" for identifier, code in side.languages.items())
        assert f"{name} ({codes})\n{side.text}\n\n" in out
    assert status == 0 and out.endswith(f"{found.done}\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--off", "fr", "--on", "fr"], "fr is both off and on; choose one of the two"),
        (["--on", "fr", "--dose", "much"], "dose 'much': is not of the form set-all-1-1"),
        (["--model", "other"], "has no model 'other'"),
    ],
)
def test_a_wrong_word_is_told_in_a_line(printed, run_folder, words, message):
    status, out, messages = printed(run_folder, "--ask", PROMPT, *words)
    assert status == 1 and out == "" and message in messages and len(messages.splitlines()) == 1


def test_without_gradio_the_page_is_refused_and_an_answer_is_given(printed, run_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    status, _, messages = printed(run_folder)
    assert status == 1 and messages.startswith(f"lape play: gradio: is not installed for {sys.executable}; install it")
    assert printed(run_folder, f"--ask={PROMPT}")[0] == 0
