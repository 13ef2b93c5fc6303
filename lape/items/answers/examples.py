"""One question and its answers side by side: with neurons deactivated (Table 2) and in another language (Table 5)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lape.artifacts.files import read_json
from lape.errors import LapeError
from lape.generation.answers import read_answers
from lape.items.answers.inputs import Answers, Pair, generations_header, load
from lape.items.layout import Section, rounded


def data(header: str | Path) -> list[Path]:
    """The TSV beside a scores header, and the answers that it scores with their header."""
    path = generations_header(Answers(Path(header), read_json(header, "scores"), None))
    return [Path(header).with_suffix(".tsv"), path, path.with_suffix(".jsonl")]


def table2(paths: Sequence[str | Path], language: str | None = None) -> pd.DataFrame:
    """A question and its answers, normal and with the neurons of its language deactivated (Table 2).

    Nobody picks the question: among those whose normal answer both identifiers place in the language (all, if there
    is none), it is the one whose answer's NLL rises by the median when the language is deactivated, the lower one of
    two, the smaller number where rises are equal.

    Args:
        paths: scores headers of the settings normal and deactivated-k, each with its TSV beside it and the answers that
            it scores where its inputs say. Others are passed over.
        language: k; None for zh or, where that is not deactivated, the first that is not en.

    Returns:
        Three rows a model and prompt: model, prompt, language, number, candidates (questions that it is the median of),
        part (question, normal, deactivated), langdetect, lingua and nll (of the answers), text. Line breaks of any kind
        are written as one.

    Raises:
        LapeError: there are no such settings, or no question that has an answer in both.
    """
    rows = []
    for group in load(paths):
        known = [name for name in group.languages if f"deactivated-{name}" in group.settings]
        if not known:
            continue
        chosen = _chosen(language, known, "zh", avoided="en")
        pair = chosen, chosen
        both = {"normal": group.setting("normal"), "deactivated": group.setting(f"deactivated-{chosen}")}
        normal, deactivated = (answers.block(pair) for answers in both.values())
        placed = (normal[["language_accuracy", "lingua_accuracy"]] == 1).all(axis=1)
        number, candidates = _median(deactivated["nll"] - normal["nll"], placed, f"{both['deactivated']}, {chosen}")
        names = {**group.names, "language": chosen, "number": number, "candidates": candidates}
        rows += _rows(names, both, pair, number)
    if not rows:
        raise LapeError("no scores of a deactivated language: there is no example; pass normal and deactivated-k")
    return pd.DataFrame(rows)


def table5(paths: Sequence[str | Path], source: str | None = None, target: str | None = None) -> pd.DataFrame:
    """A question in one language and its answer in another, steered across (Table 5).

    Nobody picks the question: among those whose answer langdetect places in the target (all, if there is none), it is
    the one whose answer has the median NLL, the lower one of two, the smaller number where they are equal.

    Args:
        paths: scores headers of the settings cross-k, as for `table2`. Others are passed over.
        source: k, the language of the question; None for es or, where that has no such setting, the first that has.
        target: of the answer; None for zh or, where that is not there, the first other language.

    Returns:
        Two rows a model and prompt, parts question and cross: the columns of `table2`, with target after language, and
        succeeded and answers: how many answers of how many from source to target are in the target.

    Raises:
        LapeError: as `table2`.
    """
    rows = []
    for group in load(paths):
        known = [name for name in group.languages if f"cross-{name}" in group.settings]
        if not known:
            continue
        start = _chosen(source, known, "es", avoided=target)
        answers = group.setting(f"cross-{start}")
        end = _chosen(target, [name for _, name in answers.blocks], "zh")
        pair = start, end
        block = answers.block(pair)
        placed = block["language_accuracy"] == 1
        number, candidates = _median(block["nll"], placed, f"{answers}, {end}")
        names = {**group.names, "language": start, "target": end, "number": number, "candidates": candidates}
        names |= {"succeeded": int(placed.sum()), "answers": len(block)}
        rows += _rows(names, {"cross": answers}, pair, number)
    if not rows:
        raise LapeError("no scores of a setting 'cross': there is no example; pass those of cross-k")
    return pd.DataFrame(rows)


def table2_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model and prompt the question and its two answers."""
    return [
        _section(
            f"{title}: {first.language}, question {first.number}, of {first.candidates} the one of median rise of NLL "
            f"when {first.language} is deactivated",
            {"normal": "normal output", "deactivated": f"output with {first.language} deactivated"},
            block,
        )
        for title, first, block in _blocks(frame)
    ]


def table5_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model and prompt the question and its answer."""
    return [
        _section(
            f"{title}: {first.language} to {first.target}, {first.succeeded} of {first.answers} answers in "
            f"{first.target}; question {first.number}, of {first.candidates} the one whose answer has the median NLL",
            {"cross": f"output with {first.language} deactivated and {first.target} steered"},
            block,
        )
        for title, first, block in _blocks(frame)
    ]


def _chosen(wanted: str | None, known: Sequence[str], usual: str, avoided: str | None = None) -> str:
    """The language that was asked for, else the usual one if it is there, else the first that need not be avoided."""
    if wanted is None:
        others = [name for name in known if name != avoided] or known
        return usual if usual in others else others[0]
    if wanted not in known:
        raise LapeError(f"language {wanted!r}: has no answers for this example; name one of {', '.join(known)}")
    return wanted


def _median(values: pd.Series, placed: pd.Series, what: str) -> tuple[int, int]:
    """The question of the lower median among those that are placed, or all, and how many these are."""
    values = values.dropna()
    candidates = values[placed.reindex(values.index)]
    candidates = values if candidates.empty else candidates
    if candidates.empty:
        raise LapeError(f"{what}: every answer is empty; there is no example, try another language")
    ranked = candidates.sort_index().sort_values(kind="stable")
    return int(ranked.index[(len(ranked) - 1) // 2]), len(ranked)


def _rows(names: dict, settings: dict[str, Answers], pair: Pair, number: int) -> list[dict]:
    """The question and its answer in each of some settings."""
    rows = []
    for part, answers in settings.items():
        answer, score = _answer(answers, pair, number), answers.block(pair).loc[number]
        if not rows:
            rows.append({**names, "part": "question", "langdetect": "", "lingua": "", "nll": np.nan})
            rows[0]["text"] = _text(answer["question"])
        identified = {identifier: score[identifier] for identifier in ("langdetect", "lingua")}
        rows.append({**names, "part": part, **identified, "nll": score["nll"], "text": _text(answer["output"])})
    return rows


def _text(text: str) -> str:
    """With one kind of line break, which every reader of CSV leaves as it is."""
    return "\n".join(text.splitlines()).strip()


def _answer(answers: Answers, pair: Pair, number: int) -> dict:
    """One row of the answers that were scored."""
    header, rows = read_answers(generations_header(answers))
    for row in rows:
        if (row["language"], row["target"], row["number"]) == (*pair, number):
            return row
    raise LapeError(f"{answers.path}: scores an answer that {header['setting']} has not; run `lape score` again")


def _blocks(frame: pd.DataFrame):
    """Title, first row and all rows of every model and prompt."""
    for (model, prompt), block in frame.groupby(["model", "prompt"], sort=False):
        yield f"{model}, {prompt} prompt", next(block.itertuples()), block


def _section(title: str, parts: dict[str, str], block: pd.DataFrame) -> Section:
    """Parts down, their text across."""
    labels = []
    for row in block.itertuples():
        found = f"{row.langdetect}, NLL {rounded(row.nll)}" if not np.isnan(row.nll) else row.langdetect
        labels.append(f"{parts[row.part]} ({found})" if row.part in parts else row.part)
    return Section(title, "", pd.DataFrame({"text": block["text"].to_list()}, index=labels), prose=True)
