"""The Python and the command that a page shows print the answers that it shows."""

import contextlib
import io
import shlex

import pytest
from played_run import PROMPT, request

from lape.playground.repeating import command, python

HOSTILE = """ '"{question}"' \\n </script> ${HOME} `id`
--off"""
CHANGES = [
    {},
    {"off": ["fr"]},
    {"on": "ja", "dose": "add-all-8-1"},
    {"off": ["fr"], "on": "ja", "dose": "set-generated-2-0.5"},
    {"on": "ja", "method": "expert_units"},
    {"off": ["fr"], "prompt": HOSTILE},
    {"off": ["fr", "ja"], "method": "active_lape", "is_question": False, "prompt": f"-{PROMPT}"},
]


def printed(script: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(script, "script", "exec"), {})
    return out.getvalue()


@pytest.mark.parametrize("change", CHANGES)
def test_the_python_prints_both_answers(ask, playground, change):
    found, script = ask(**change), python(playground.run, request(**change), playground.threads)
    own = [found.normal.text, found.switched.text] if change else [found.normal.text]
    assert printed(script) == "".join(f"{text}\n" for text in own)


def test_the_python_counts_the_steering_values_where_the_run_wrote_none(ask, playground, monkeypatch):
    change = {"off": ["fr"], "on": "ja"}
    found = ask(**change)
    method = playground.run.method("tiny", "lape")
    values = method.values.rename(method.values.with_suffix(".away"))
    try:
        script = python(playground.run, request(**change), playground.threads)
        assert "lape.steering_values" in script
        assert printed(script) == f"{found.normal.text}\n{found.switched.text}\n"
    finally:
        values.rename(method.values)


@pytest.mark.parametrize("change", CHANGES)
def test_the_command_prints_both_answers(ask, playground, printed, change):
    found, words = ask(**change), shlex.split(command(playground.run, request(**change)))
    assert words[:2] == ["lape", "play"]
    status, out, _ = printed(*words[2:])
    assert status == 0
    assert all(f")\n{side.text}\n\n" in out for side in (found.normal, found.switched))
