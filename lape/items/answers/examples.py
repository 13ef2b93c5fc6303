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
    """The TSV beside a scores header, the header of the answers that were scored, and the answers themselves."""
    path = generations_header(Answers(Path(header), read_json(header, "scores"), None))
    return [Path(header).with_suffix(".tsv"), path, path.with_suffix(".jsonl")]


def example_deactivated(paths: Sequence[str | Path], language: str | None = None) -> pd.DataFrame:
    """A question and its answers, normal and with the neurons of its language deactivated (Table 2).

    Nobody picks the question. The candidates are the questions whose normal answer both identifiers place in the
    language; where there is no such question, all questions are candidates. Deactivating the language raises the NLL
    of the answers, and the question is the candidate with the median rise. Of two middle candidates it is the one with
    the lower rise; where rises are equal, the question with the smaller number.

    Args:
        paths: scores headers of the settings normal and deactivated-k. Each has its TSV beside it, and its inputs name
            the file of the answers. Headers of other settings are passed over.
        language: the deactivated language k. None means zh or, where zh is not deactivated, the first language that is
            not en.

    Returns:
        three rows per model and prompt. Columns: model, prompt, language, number, candidates (how many there are), part
        (question, normal, deactivated), langdetect, lingua and nll (of the answers), text. Every kind of line break in
        the text is written as a newline.

    Raises:
        LapeError: there are no such settings, or no question has an answer in both of them.
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


def example_cross_lingual(
    paths: Sequence[str | Path], source: str | None = None, target: str | None = None
) -> pd.DataFrame:
    """A question in one language and its answer in another, steered across (Table 5).

    Nobody picks the question. The candidates are the questions whose answer langdetect places in the target language;
    where there is no such question, all questions are candidates. The question is the candidate whose answer has the
    median NLL. Of two middle candidates it is the one with the lower NLL; where NLLs are equal, the question with the
    smaller number.

    Args:
        paths: scores headers of the settings cross-k, with the files that `example_deactivated` needs. Headers of other
            settings are passed over.
        source: the language k of the question. None means es or, where there is no setting cross-es, the first language
            that has such a setting.
        target: the language of the answer. None means zh or, where zh is no target, the first other language.

    Returns:
        two rows per model and prompt, with the parts question and cross. The columns are those of
        `example_deactivated`, with target after language, and two more: answers (how many there are from source to
        target) and succeeded (how many of the answers are in the target language).

    Raises:
        LapeError: there are no such settings, or no question has an answer.
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


def example_deactivated_sections(frame: pd.DataFrame) -> list[Section]:
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


def example_cross_lingual_sections(frame: pd.DataFrame) -> list[Section]:
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
    """The wanted language; where none is wanted, the usual one if it is known, else the first that is not avoided."""
    if wanted is None:
        others = [name for name in known if name != avoided] or known
        return usual if usual in others else others[0]
    if wanted not in known:
        raise LapeError(f"language {wanted!r}: has no answers for this example; name one of {', '.join(known)}")
    return wanted


def _median(values: pd.Series, placed: pd.Series, what: str) -> tuple[int, int]:
    """The number of the question with the lower median, and the number of candidates.

    Candidates are the questions whose answer is placed in the language, or all where there is none.
    """
    values = values.dropna()
    candidates = values[placed.reindex(values.index)]
    candidates = values if candidates.empty else candidates
    if candidates.empty:
        raise LapeError(f"{what}: every answer is empty; there is no example, try another language")
    ranked = candidates.sort_index().sort_values(kind="stable")
    return int(ranked.index[(len(ranked) - 1) // 2]), len(ranked)


def _rows(names: dict, settings: dict[str, Answers], pair: Pair, number: int) -> list[dict]:
    """A row for the question and one for its answer in each setting."""
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
    """A text with newlines as its only line breaks, which every reader of CSV leaves as they are."""
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
    """A table with a row per part (question or answer) and its text in the only column."""
    labels = []
    for row in block.itertuples():
        found = f"{row.langdetect}, NLL {rounded(row.nll)}" if not np.isnan(row.nll) else row.langdetect
        labels.append(f"{parts[row.part]} ({found})" if row.part in parts else row.part)
    return Section(title, "", pd.DataFrame({"text": block["text"].to_list()}, index=labels), prose=True)
