"""Reading generated answers and their scores."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from lape.artifacts.files import checked, read_json, read_rows
from lape.errors import LapeError
from lape.text.identification import IDENTIFIERS

# The fields that identify an answer among those of a setting.
KEYS = ("language", "target", "number")
# The fields that a header of scores or judgements copies from the header of the answers.
COPIED = ("model", "model_revision", "prompt", "setting", "kind", "deactivated", "activated", "method", "steering")
COPIED += ("languages",)

# How a model that thinks before it answers marks the beginning and the end of its thoughts.
THOUGHTS = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("◁think▷", "◁/think▷"),
)

# The measures of an answer. Each is averaged over the answers that have a value.
MEASURES = ("nll", "distinct_1", "distinct_2", "chrf", "bleu")


def read_answers(header_path: str | Path) -> tuple[dict, list[dict]]:
    """The header of a generations artifact and its answers, in their order.

    Raises:
        LapeError: the header or the answers are missing or damaged, or an answer comes twice.
    """
    header = read_json(header_path, "generations")
    path = checked(header_path, header, ".jsonl")
    answers = read_rows(path, {"language": str, "target": str, "number": int, "output": str})
    keys = [tuple(answer[key] for key in KEYS) for answer in answers]
    if len(set(keys)) < len(keys):
        raise LapeError(f"{path}: an answer comes twice; run `lape generate` again")
    return header, answers


def read_scores(path: str | Path) -> pd.DataFrame:
    """The TSV of a scores artifact. Languages such as "no" are text, and a measure that an answer lacks is NaN."""
    return pd.read_csv(
        path,
        sep="\t",
        keep_default_na=False,
        dtype=dict.fromkeys(("language", "target", "line_languages", *IDENTIFIERS), str),
        converters=dict.fromkeys(MEASURES, lambda text: float(text or "nan")),  # pandas' own parser is not exact
    )


def trimmed(text: str, stop: Iterable[str]) -> tuple[str, bool]:
    """The answer in a generated text, without white space around it, and whether a stop string ended it.

    Where tokens are single bytes, a text may end within a character. It is cut before this character.
    """
    cut = min((place for place in map(text.find, stop) if place >= 0), default=None)
    return text[:cut].rstrip("\N{REPLACEMENT CHARACTER}").strip(), cut is not None


def split_thoughts(prompt: str, text: str) -> tuple[str, str]:
    """The thoughts at the beginning of a generated text, and the answer behind them.

    A model thinks in a language of its own choice. What is identified, compared and judged is the answer.

    Args:
        prompt: the prompt, which may begin the thoughts: some chat templates end so.
        text: the generated text, which may end within the thoughts. Then there is no answer.
    """
    for begin, end in THOUGHTS:
        if text.startswith(begin) or prompt.rstrip().endswith(begin):
            thoughts, _, answer = text.removeprefix(begin).partition(end)
            return thoughts.strip(), answer.strip()
    return "", text


def counts(answers: Iterable[Mapping]) -> list[dict]:
    """Numbers of answers, of generated tokens and of answers by the reason why they ended.

    Returns:
        one row per question's language and wanted language, in the order in which they first come.
    """
    found: dict[tuple[str, str], dict] = {}
    for answer in answers:
        empty = {"answers": 0, "tokens": 0, "stop": 0, "eos": 0, "length": 0}
        block = found.setdefault((answer["language"], answer["target"]), empty)
        block["answers"] += 1
        block["tokens"] += len(answer["tokens"])
        block[answer["finish_reason"]] += 1
    return [{"language": language, "target": target, **block} for (language, target), block in found.items()]
