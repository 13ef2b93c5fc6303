"""Arguments that several commands take, and types of them."""

import argparse
import json
import math
from collections.abc import Callable, Collection
from pathlib import Path

from lape.errors import nearest


def add_setting_arguments(parser: argparse.ArgumentParser) -> None:
    """What the commands take that write texts under a setting of the expert units."""
    parser.add_argument("--model", type=Path, required=True, help="model.json")
    parser.add_argument("--setting", required=True, metavar="NAME", help="none, both-2000, top-lape, lape, ...")
    parser.add_argument("--units", type=Path, help="header of the expert units, where the setting takes them")
    parser.add_argument("--neurons", type=Path, help="header of LAPE's neurons, where the setting takes as many units")
    parser.add_argument("--values", type=Path, help="header of the steering values, where the setting takes them")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    add_backend(parser)
    parser.add_argument("--output", type=Path, required=True, help="SETTING.jsonl; SETTING.json beside it")


def add_backend(parser: argparse.ArgumentParser) -> None:
    """The choice between the implementations of the operators."""
    parser.add_argument(
        "--backend",
        choices=["extension", "reference"],
        default="extension",
        help="operators: the compiled extension, or plain torch, which is slower",
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    """A finished run, and one of its models."""
    parser.add_argument("run_folder", metavar="RUN", type=Path, help="finished run, such as results/default")
    parser.add_argument("--model", help="of the run, instead of its first")


def add_switching(parser: argparse.ArgumentParser) -> None:
    """A finished run, and which languages are switched in its model."""
    add_run(parser)
    parser.add_argument("--method", default="lape", help="that found the neurons: lape, ap, ..., or expert_units")
    parser.add_argument("--deactivate", nargs="+", default=[], metavar="LANGUAGE", help="languages switched off")
    parser.add_argument("--steer", metavar="LANGUAGE", help="language that is switched on")
    parser.add_argument("--dose", default="set-all-1-1", help="mode-positions-strength-share of the steering")


def keep_words_behind_dashes(parser: argparse.ArgumentParser, name: str) -> None:
    """Let a parser keep the words behind `--` under a name.

    argparse itself gives them to no option that came before.
    """
    whole = parser.parse_args

    def parse_args(words: list[str]) -> argparse.Namespace:
        place = words.index("--") if "--" in words else len(words)
        found = whole(words[:place])
        setattr(found, name, words[place + 1 :])
        return found

    parser.parse_args = parse_args


def item_of(kind: str, known: Collection[str]) -> Callable[[str], str]:
    """The type of an argument that takes an item by its name or an alias, from the names of all tables or figures."""
    from lape.items.registry import ALIASES, item_name  # imports the schema's validator, which most commands lack

    def item(text: str) -> str:
        name = item_name(text)
        if name not in known:
            aliases = [alias for alias, own in ALIASES.items() if own in known]
            raise argparse.ArgumentTypeError(f"no {kind} is called {text!r}{nearest(text, [*known, *aliases])}")
        return name

    return item


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
