"""How specific every matrix is: bounded scores with intervals over languages and chunks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lape.errors import LapeError
from lape.evaluation.specificity import Specificity, specificity
from lape.items.layout import Section
from lape.items.perplexity.inputs import Measurement, baselines, load, matrices, paired
from lape.items.perplexity.rows import Draws, drawing

ALL, UNRELATED = "all", "without related pairs"
# The columns of `scores` that hold them.
SCORES = tuple(
    f"{name}{end}" for name in ("share", "log_ratio") for end in ("", "_low", "_high", "_chunks_low", "_chunks_high")
)
SCORES += ("largest", "diagonal", "off_diagonal")


def scores(
    paths: Sequence[str | Path], resamples: int = 2000, seed: int = 0, related: str | None = None
) -> pd.DataFrame:
    """The scores of every matrix (`lape.evaluation.specificity`), with and without the cells of related languages.

    Args:
        paths: as for `lape.items.perplexity.rows.changes`.
        resamples: number of resamples of the bootstrap over chunks.
        seed: seed of the draws of the resamples.
        related: pairs of related languages, such as "zh+ja,fr+es". Those that a model does not know are passed over.

    Returns:
        one row per model, method and cells ("all", or "without related pairs" where there are some). Columns:
        - model, method, cells, languages;
        - share (of the total rise that is on the diagonal) and log_ratio (mean over rows), each with _low and _high
          (95% interval over languages and their chunks), _chunks_low and _chunks_high (over chunks alone);
        - largest (number of rows whose largest cell is on the diagonal), diagonal and off_diagonal (mean NLL rises).

    Raises:
        LapeError: see `lape.items.perplexity.rows.changes`; or `related` is no list of pairs.
    """
    measured = load(paths)
    base, found = baselines(measured), matrices(measured)
    pairs, draws, lines = _pairs(related), drawing(resamples, seed), []
    for (model, method), rows in found.items():
        languages = list(rows)
        kin = np.array([[{one, other} in pairs for other in languages] for one in languages])
        for cells, counted in ((ALL, None), (UNRELATED, ~kin)):
            if counted is None or kin.any():
                found_scores = _scored(rows, base[model], draws, counted)
                own = {"model": model, "method": method, "cells": cells, "languages": len(languages)}
                lines.append(own | _columns(found_scores))
    return pd.DataFrame(lines)


def score_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model and choice of cells a table with one row per method, in the order given."""
    sections = []
    for (model, cells), block in frame.groupby(["model", "cells"], sort=False):
        number = block["languages"].iat[0]
        lines = {row["method"]: written(row) for _, row in block.iterrows()}
        title = (
            f"{model}, {cells} cells" if cells == ALL else f"{model}, {cells}"
        ) + f": specificity; a share of {1 / number:.0%} and a log ratio of 0 say that all languages suffer alike"
        sections.append(Section(title, "method", pd.DataFrame.from_dict(lines, orient="index")))
    return sections


def written(row: pd.Series) -> dict[str, str]:
    """The scores of a matrix as people read them, by the heading of the column."""
    return {
        "share on diagonal [languages] (chunks)": _written(row, "share", "{:.0%}"),
        "log ratio [languages] (chunks)": _written(row, "log_ratio", "{:.2f}"),
        "rows led by the diagonal": f"{row['largest']:.0f} of {row['languages']:.0f}",
        "NLL rise on diagonal": f"{row['diagonal']:.3f}",
        "off diagonal": "" if np.isnan(row["off_diagonal"]) else f"{row['off_diagonal']:.3f}",
    }


def _scored(rows: dict[str, Measurement], base: Measurement, draws: Draws, counted: np.ndarray | None) -> Specificity:
    pairs = {name: [paired(row, base, name) for row in rows.values()] for name in rows}
    rises = [np.stack([own[2] - unperturbed[2] for own, unperturbed in pair]) for pair in pairs.values()]
    sizes = [pair[0][1][0] for pair in pairs.values()]
    drawn = [draws(name, len(size)) for name, size in zip(pairs, sizes, strict=True)]
    return specificity(rises, sizes, drawn, counted)


def _columns(found: Specificity) -> dict:
    columns = {}
    for name in ("share", "log_ratio"):
        score = getattr(found, name)._asdict()
        columns |= {name if key == "value" else f"{name}_{key}": value for key, value in score.items()}
    return columns | {name: getattr(found, name) for name in ("largest", "diagonal", "off_diagonal")}


def _pairs(related: str | None) -> list[set[str]]:
    pairs = [pair.split("+") for pair in (related or "").split(",") if pair]
    for pair in pairs:
        if len(pair) != 2:
            raise LapeError(f"--related {'+'.join(pair)}: is no pair of languages; write pairs such as zh+ja,fr+es")
    return [set(pair) for pair in pairs]


def _written(row: pd.Series, name: str, form: str) -> str:
    """A score, the interval over languages in brackets and that over chunks in parentheses, where there are some."""
    if pd.isna(row[name]):
        return ""
    text = form.format(row[name])
    for ends, (first, last) in (("", "[]"), ("chunks_", "()")):
        low, high = row[f"{name}_{ends}low"], row[f"{name}_{ends}high"]
        if not pd.isna(low):
            text += f" {first}{form.format(low)} to {form.format(high)}{last}"
    return text
