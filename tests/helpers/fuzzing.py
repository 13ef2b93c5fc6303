"""Broken input at random, and what must hold of a command that meets it. LAPE_FUZZ=N: N examples a test."""

import copy
import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("LAPE_FUZZ", 0))
# The same examples in every run, unless more are asked for. The deadline is what no example may hang for.
fuzzed = settings(
    max_examples=EXAMPLES or 60,
    derandomize=not EXAMPLES,
    deadline=30_000,
    database=None,
    suppress_health_check=list(HealthCheck),
)
NESTED = b"[" * 100_000
ODD = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        10**30,
        1.5,
        float("inf"),
        "",
        "x",
        "../x",
        "a\0b",
        "\ud800",
        [],
        [None],
        [1],
        [[]],
        {},
        {"x": 1},
    ]
)


@st.composite
def damaged(draw, whole: bytes) -> bytes:
    """A file that was cut, flipped, spliced, or is another one."""
    kind = draw(st.sampled_from(["flip", "flip", "cut", "insert", "other", "nested"]))
    place = draw(st.integers(0, len(whole)))
    if kind == "flip" and whole:
        places = draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=8))
        flipped = bytearray(whole)
        for each in places:
            flipped[each] = draw(st.integers(0, 255))
        return bytes(flipped)
    if kind == "insert":
        return whole[:place] + draw(st.binary(min_size=1, max_size=9)) + whole[place:]
    return {"other": draw(st.binary(max_size=300)), "nested": NESTED}.get(kind, whole[:place])


@st.composite
def edited(draw, content: dict | list) -> dict | list:
    """JSON with a value or two, at any depth, removed or replaced."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 2))):
        node = content
        while isinstance(node, dict | list) and node:
            key = draw(st.sampled_from(list(node) if isinstance(node, dict) else range(len(node))))
            if isinstance(node[key], dict | list) and node[key] and draw(st.booleans()):
                node = node[key]
                continue
            if draw(st.integers(0, 2)):
                node[key] = draw(ODD)
            else:
                del node[key]
            break
    return content


def check_succeeds_or_refuses(status: int, messages: str, command: str) -> None:
    """It succeeds, or fails in one line of its own; a traceback and `unexpected error` are faults of ours."""
    assert "Traceback" not in messages and "unexpected error" not in messages, messages
    assert status in (0, 1), messages
    own = [line for line in messages.splitlines() if line.startswith("lape ")]
    assert len(own) == status, messages
    if status:
        *_, last = messages.splitlines()
        assert last.startswith(f"lape {command}: ") and "; " in last, messages
