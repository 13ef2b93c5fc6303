"""Methods at equal effect: what the other languages lose where the deactivated one loses as much as under LAPE."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lape.errors import LapeError
from lape.evaluation.uncertainty import MINIMUM_CHUNKS, bootstrap_interval
from lape.items.layout import Section, rounded, with_interval
from lape.items.perplexity.inputs import Measurement, baselines, load, paired
from lape.items.perplexity.rows import Draws, drawing


def equal_effect(paths: Sequence[str | Path], resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """The rise of the deactivated language and of the others: LAPE at several ratios, and every other method once.

    LAPE's ratios make a curve of the others' mean rise against the deactivated language's own, from no effect at ratio
    0. Between two ratios the curve is a straight line.

    Args:
        paths: perplexity headers: every model's baseline, LAPE's rows of one language at several ratios, and rows of
            that language by other methods and by controls. Each has its TSV beside it.
        resamples: number of resamples of the bootstrap over chunks.
        seed: seed of the draws of the resamples.

    Returns:
        one row per model and method, and per ratio of LAPE. Columns:
        - model, deactivated, method, ratio (share of all neurons; NaN where the method has none);
        - own and others (mean NLL rises, nats per token; of the others the mean over languages);
        - lape_others (others on LAPE's curve at the same own; NaN for LAPE itself and beyond the curve) and excess
          (others less lape_others) with excess_low and excess_high (95%, bootstrap over chunks).

    Raises:
        LapeError: a row is missing or comes twice, or LAPE has no row.
    """
    measured = load(paths)
    draws, lines = drawing(resamples, seed), []
    for model, base in baselines(measured).items():
        rows: dict[tuple, Measurement] = {}
        for row in measured:
            if row.header["model"] == model and row is not base:
                key = row.header["deactivated"], row.header["method"], row.header.get("ratio")
                if rows.setdefault(key, row) is not row:
                    raise LapeError(f"{row}: comes twice; pass each perplexity header once")
        for language in dict.fromkeys(language for language, *_ in rows):
            own = {key[1:]: row for key, row in rows.items() if key[0] == language}
            lines += [{"model": model, "deactivated": language, **line} for line in _compared(own, base, draws)]
    return pd.DataFrame(lines)


def equal_effect_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model and deactivated language one row per method and ratio."""
    sections = []
    for (model, language), block in frame.groupby(["model", "deactivated"], sort=False):
        written = {
            _name(row): {
                f"rise of {language}": rounded(row["own"]),
                "mean rise of the others": rounded(row["others"]),
                "LAPE's at the same effect": "" if np.isnan(row["lape_others"]) else rounded(row["lape_others"]),
                "excess [95% interval]": with_interval(row["excess"], row["excess_low"], row["excess_high"]),
            }
            for _, row in block.iterrows()
        }
        title = (
            f"{model}, {language} deactivated: NLL rises (nats per token), and what the others lose beyond LAPE's curve"
        )
        sections.append(Section(title, "method", pd.DataFrame.from_dict(written, orient="index")))
    return sections


def _name(row: pd.Series) -> str:
    return f"lape, {100 * row['ratio']:g}%" if row["method"] == "lape" else row["method"]


def _compared(rows: dict[tuple, Measurement], base: Measurement, draws: Draws) -> list[dict]:
    """The lines of one deactivated language."""
    language = next(iter(rows.values())).header["deactivated"]
    points = {key: _rises(row, base, language, draws) for key, row in rows.items()}
    ratios = sorted(ratio for method, ratio in points if method == "lape")
    if not ratios:
        raise LapeError(f"{next(iter(rows.values()))}: no row of LAPE is beside it; pass LAPE's at several ratios")
    # [2, ratios + 1, 1 + B]: the curve begins where nothing is deactivated.
    curve = np.stack([np.zeros_like(points["lape", ratios[0]]), *(points["lape", ratio] for ratio in ratios)], axis=1)
    chunks = min(row.shape[1] for row in base.chunks.values())
    lines = []
    for (method, ratio), point in points.items():
        line = {
            "method": method,
            "ratio": np.nan if ratio is None else ratio,
            "own": point[0, 0],
            "others": point[1, 0],
        }
        excess = np.full(point.shape[1], np.nan)
        if method != "lape" and point[0, 0] <= curve[0, :, 0].max():
            excess = point[1] - np.array([_at(own, *curve[:, :, place]) for place, own in enumerate(point[0])])
        low = high = np.nan
        if chunks >= MINIMUM_CHUNKS and not np.isnan(excess[0]):
            low, high = bootstrap_interval(excess[0], excess[1:], chunks)
        line |= {"lape_others": point[1, 0] - excess[0], "excess": excess[0], "excess_low": low, "excess_high": high}
        lines.append(line)
    return sorted(lines, key=lambda line: (line["method"] != "lape", line["ratio"] if line["method"] == "lape" else 0))


def _at(own: float, across: NDArray, up: NDArray) -> float:
    """The height of a curve at one place; its first and last heights reach beyond its ends."""
    order = np.argsort(across, kind="stable")
    return float(np.interp(own, across[order], up[order]))


def _rises(row: Measurement, base: Measurement, language: str, draws: Draws) -> NDArray:
    """The rise of the deactivated language and the mean rise of the others, [2, 1 + B]: as measured, then resampled."""
    found = {}
    for name in base.languages:
        (perturbed, (tokens, _, nll)) = paired(row, base, name)
        rise, draw = perturbed[2] - nll, draws(name, len(tokens))
        found[name] = np.append(rise.sum() / tokens.sum(), rise[draw].sum(axis=1) / tokens[draw].sum(axis=1))
    others = [rises for name, rises in found.items() if name != language]
    return np.stack([found[language], np.mean(others, axis=0)])
