"""Perplexity under deactivation: the data of Fig. 2 (with Fig. 8's control) and the unperturbed model."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lape.artifact import read_json
from lape.errors import LapeError
from lape.tables.layout import Section, rounded

BASELINE = "baseline"
RANDOM = "random"

_CELL = ["model", "deactivated", "evaluated"]
_CHANGES = ["model", "method", "deactivated", "evaluated", "tokens", "nll", "ppl", "bits_per_byte"]


def changes(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Every deactivated set x evaluated language beside the same language's baseline (Fig. 2).

    Args:
        paths: perplexity headers of any number of models; for each model the baseline, every language's set
            and the random set.

    Returns:
        Columns model, method, deactivated, evaluated, tokens, nll (mean nats per predicted token), ppl,
        bits_per_byte, baseline_nll, baseline_ppl; rows in the languages' order, the random set last.

    Raises:
        LapeError: a cell is missing, comes twice or was measured on other tokens than its baseline.
    """
    cells, languages = _cells(paths)
    blocks = []
    for model, names in languages.items():
        block = _complete(cells, model, [BASELINE, *names, RANDOM], names)
        base = block.loc[BASELINE]
        block = block.drop(index=BASELINE, level="deactivated").reset_index()
        base = base.loc[block["evaluated"]].reset_index(drop=True)
        moved = block["tokens"] != base["tokens"]
        if moved.any():
            row = block[moved].iloc[0]
            raise LapeError(
                f"perplexity of {model}, {row['deactivated']} deactivated, {row['evaluated']} evaluated: measured on "
                f"{row['tokens']} tokens, its baseline on others; run both again on the same tokens"
            )
        blocks.append(block[_CHANGES].assign(baseline_nll=base["nll"], baseline_ppl=base["ppl"]))
    return pd.concat(blocks, ignore_index=True)


def baseline(paths: Sequence[str | Path]) -> pd.DataFrame:
    """The unperturbed model in every language.

    Args:
        paths: perplexity headers; those of deactivated sets are passed over.

    Returns:
        Columns model, language, tokens, nll, ppl, bytes, bits_per_byte.

    Raises:
        LapeError: a model has no baseline, or a cell is missing or comes twice.
    """
    cells, languages = _cells(paths)
    blocks = [_complete(cells, model, [BASELINE], names).reset_index() for model, names in languages.items()]
    frame = pd.concat(blocks, ignore_index=True).rename(columns={"evaluated": "language"})
    return frame[["model", "language", "tokens", "nll", "ppl", "bytes", "bits_per_byte"]]


def ppl_change(frame: pd.DataFrame) -> pd.Series:
    """PPL less the baseline's, of every row of `changes`."""
    return frame["ppl"] - frame["baseline_ppl"]


def nll_change(frame: pd.DataFrame) -> pd.Series:
    """ln(PPL / baseline PPL) in nats per token, of every row of `changes`."""
    return frame["nll"] - frame["baseline_nll"]


def matrix(frame: pd.DataFrame, value: pd.Series) -> pd.DataFrame:
    """One model's rows as deactivated x evaluated, both in the order in which they come."""
    square = frame.assign(value=value).pivot(index="deactivated", columns="evaluated", values="value")
    return square.loc[frame["deactivated"].unique(), frame["evaluated"].unique()]


def change_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model the PPL change and the NLL change."""
    sections = []
    for model, block in frame.groupby("model", sort=False):
        for what, value in (("PPL change", ppl_change(block)), ("NLL change (nats per token)", nll_change(block))):
            title = f"{model}: {what}, row deactivated, column evaluated"
            sections.append(Section(title, "deactivated", matrix(block, value).map(rounded)))
    return sections


def baseline_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model one line a language."""
    formats = {"tokens": "{:,}", "nll": "{:.3f}", "ppl": "{:.2f}", "bytes": "{:,}", "bits_per_byte": "{:.3f}"}
    heads = {"nll": "NLL (nats per token)", "ppl": "PPL", "bits_per_byte": "bits per byte"}
    sections = []
    for model, block in frame.groupby("model", sort=False):
        block = block.set_index("language")
        cells = pd.DataFrame({heads.get(name, name): block[name].map(text.format) for name, text in formats.items()})
        sections.append(Section(f"{model}: perplexity with no neuron deactivated", "language", cells))
    return sections


def _cells(paths: Sequence[str | Path]) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """All measured cells, indexed by `_CELL`, and each model's languages in their order."""
    rows, languages = [], {}
    for path in paths:
        header = read_json(path, "perplexity")
        model = header["model"]
        if languages.setdefault(model, header["languages"]) != header["languages"]:
            raise LapeError(f"{path}: {model} has other languages here than in the other inputs; measure one list")
        known = {BASELINE, RANDOM, *header["languages"]}
        for name in (header["deactivated"], *(row["evaluated"] for row in header["rows"])):
            if name not in known:
                raise LapeError(f"{path}: {name!r} is not among its languages; run `lape perplexity` again")
        own = {"model": model, "method": header["method"], "deactivated": header["deactivated"]}
        rows += [own | row for row in header["rows"]]
    cells = pd.DataFrame(rows).set_index(_CELL)
    twice = cells.index[cells.index.duplicated()]
    if len(twice):
        raise LapeError(f"perplexity of {_say(twice[0])}: comes twice; pass each perplexity header once")
    return cells, languages


def _complete(cells: pd.DataFrame, model: str, deactivated: list[str], evaluated: list[str]) -> pd.DataFrame:
    """One model's cells in order, indexed by (deactivated, evaluated)."""
    wanted = pd.MultiIndex.from_product([[model], deactivated, evaluated], names=_CELL)
    missing = wanted.difference(cells.index, sort=False)
    if len(missing):
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise LapeError(f"perplexity of {_say(missing[0])}: missing{more}; run `lape perplexity` for that set")
    return cells.loc[wanted].reset_index("model")


def _say(cell: tuple[str, str, str]) -> str:
    model, deactivated, evaluated = cell
    what = BASELINE if deactivated == BASELINE else f"{deactivated} deactivated"
    return f"{model}, {what}, {evaluated} evaluated"
