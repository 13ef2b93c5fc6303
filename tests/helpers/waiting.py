"""Waiting for what another process or thread does."""

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def wait_until(condition: Callable[[], Value], what: str, seconds: float = 60) -> Value:
    """Wait for a true value of a condition, and return it.

    Raises:
        AssertionError: there was none for so many seconds; it says what was waited for.
    """
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)
    return value
