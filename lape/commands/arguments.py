"""Types of arguments that several commands take."""

import argparse
import json
import math
from collections.abc import Callable


def json_object(text: str) -> dict:
    """The type of an option that takes settings."""
    settings = _json(text)
    if not isinstance(settings, dict):
        raise argparse.ArgumentTypeError("not a JSON object")
    return settings


def positive(number: type) -> Callable[[str], int | float]:
    """The type of an option that takes a number above zero, from what reads one (int, float)."""

    def positive(text: str) -> int | float:
        if not 0 < number(text) < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is no number above 0")
        return number(text)

    return positive


def strings(text: str) -> list[str]:
    """The type of an option that takes texts."""
    found = _json(text)
    if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found):
        raise argparse.ArgumentTypeError(f"{text} is no JSON list of strings with a character or more")
    return found


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON ({error})") from error
