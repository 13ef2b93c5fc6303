"""Every causal LM type of transformers: right or refused, and never wrong."""

import json
import subprocess
import sys
from collections import Counter

import decoders
import pytest
import transformers


@pytest.fixture(scope="module")
def verdicts() -> list[dict[str, str]]:
    """In a process of its own, which forks without the threads of this one."""
    command = [sys.executable, decoders.__file__, *decoders.all_types()]
    return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def test_no_type_is_wrong_and_the_goal_is_reached(verdicts):
    numbers = Counter(each["result"] for each in verdicts)
    assert not [each for each in verdicts if each["result"] == "wrong"]
    assert numbers["right"] >= 105


def test_the_page_has_the_sweep_of_the_pinned_version(verdicts):
    text = decoders.PAGE.read_text(encoding="utf-8")
    if f"transformers {transformers.__version__}," not in text:
        pytest.skip(f"the page is of another version than transformers {transformers.__version__}")
    assert decoders.page(verdicts) == text, "run `python tests/helpers/decoders.py`"
