"""Answers side by side: every question of a run, what was answered in each setting, and in which language."""

from collections.abc import Iterator
from pathlib import Path

from lape.explorer.run import Run
from lape.generation.answers import KEYS, read_answers, read_scores
from lape.generation.settings import Setting
from lape.text.language_codes import base_language

# Prompts that ask for no answer: texts from BOS alone, and translations.
_NO_ANSWERS = ("unconditional", "translation-")


def answers(run: Run) -> list[dict]:
    """The answers of every model and prompt.

    Returns:
        one dictionary per model and prompt: model, prompt, languages, questions (language -> number -> text), and
        settings: one dictionary per setting in the order normal, controls, deactivated, steered, cross-lingual. A
        setting has its name, kind and language, and rows: language, target, number, output, found (the language that
        langdetect tells; empty where the answer was not scored) and hit (whether it is the wanted one).
    """
    groups: dict[tuple[str, str], dict] = {}
    identified = {
        (header["model"], header["prompt"], header["setting"]): path for path, header in run.headers("scores").items()
    }
    for path, header in run.headers("generations").items():
        key = header["model"], header["prompt"]
        if header["prompt"].startswith(_NO_ANSWERS):
            continue
        group = groups.setdefault(
            key, dict(zip(("model", "prompt"), key, strict=True), languages=[], questions={}, settings=[])
        )
        group["languages"] = header["languages"]
        setting = Setting.parse(header["setting"])
        rows = list(_rows(path, identified.get((*key, header["setting"])), group["questions"]))
        group["settings"].append(
            {"name": header["setting"], "kind": setting.kind, "language": setting.language, "rows": rows}
        )
    for group in groups.values():
        group["settings"].sort(key=lambda setting: (_ORDER.index(setting["kind"]), "@" in setting["name"]))
    return list(groups.values())


_ORDER = (
    "normal",
    "prompted",
    "random",
    "deactivated",
    "steered",
    "steered_random",
    "cross",
    "cross_random",
    "diffmean",
)


def _rows(path: Path, scores: Path | None, questions: dict[str, dict[int, str]]) -> Iterator[dict]:
    found = {}
    if scores is not None:
        frame = read_scores(scores.with_suffix(".tsv"))
        found = dict(zip(frame[list(KEYS)].itertuples(index=False, name=None), frame["langdetect"], strict=True))
    for answer in read_answers(path)[1]:
        key = tuple(answer[name] for name in KEYS)
        questions.setdefault(answer["language"], {})[answer["number"]] = answer.get("question", "")
        language = found.get(key, "")
        yield {
            **dict(zip(KEYS, key, strict=True)),
            "output": answer["output"],
            "found": language,
            "hit": language == base_language(answer["target"]),
        }
