"""Perplexity under deactivation with its intervals and tests: the data of Figs. 2, 3, 4 and 8."""

import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from lape.errors import LapeError
from lape.evaluation import uncertainty
from lape.items.perplexity.inputs import BASELINE, Measurement, bare, baselines, control_in, load, matrices, paired

SIGNIFICANT = 0.05  # A cell is significant where p_holm is below.

Draws = Callable[[str, int], np.ndarray]


def data(header: str | Path) -> list[Path]:
    """The TSV beside a perplexity header."""
    return [Path(header).with_suffix(".tsv")]


def changes(paths: Sequence[str | Path], resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Every deactivated x evaluated language beside its baseline and its control (Figs. 2, 3 and 8).

    There is one matrix per model and method. Where the inputs hold the matrix of the method's control, each cell is
    tested against that of the control: the activity-matched one ("active_" before the method's name), or without it the
    layer-matched one ("matched_").

    Args:
        paths: perplexity headers, each with its TSV beside it. Each model needs its baseline, and each of its matrices
            a row for every language.
        resamples: number of resamples of the bootstrap over chunks.
        seed: seed of the draws of the resamples. A language has the same draws in all cells, whatever the other
            languages are.

    Returns:
        one row per cell, in the languages' order; a model's matrices are in the order of the inputs. Columns:
        - model, method, deactivated, evaluated, tokens, chunks;
        - nll (mean nats per predicted token), ppl and bits_per_byte, and those of the baseline (baseline_nll, ...);
        - ppl_change, nll_change and bits_change, each with the bounds _low and _high of its 95% interval
          (`uncertainty.change_interval`);
        - control_method (empty without one), control_nll, p_value
          (`uncertainty.sign_flip_test`) and p_holm (over all tested cells of the table); NaN without a control;
        - where the inputs have PV: training_steps and training_examples, of the copy of the deactivated language; NaN
          for other methods.

    Raises:
        LapeError: a row is missing, comes twice or was measured on other chunks than its baseline or control.
    """
    measured = load(paths)
    base, found = baselines(measured), matrices(measured)
    draws = drawing(resamples, seed)
    blocks = []
    for (model, method), rows in found.items():
        cells = [
            {
                **{"model": model, "method": method, "deactivated": name},
                **_cell(row, base[model], evaluated, draws),
                **_training(row),
            }
            for name, row in rows.items()
            for evaluated in row.languages
        ]
        control = control_in(method, [other for of, other in found if of == model])
        tests = _tests(rows, found.get((model, control)), seed)
        blocks.append(pd.DataFrame(cells).assign(control_method=control or "", **tests))
    frame = pd.concat(blocks, ignore_index=True)
    trained = [name for name in frame if name.startswith("training_")]
    return corrected(frame[[name for name in frame if name not in trained] + trained])


def _training(row: Measurement) -> dict[str, int]:
    """How long the copy was trained whose parameters are set to zero; empty for neurons."""
    return {f"training_{name}": number for name, number in (row.header.get("training") or {}).items()}


def corrected(frame: pd.DataFrame) -> pd.DataFrame:
    """Add the column p_holm: Holm's correction over all rows of a table that have a p_value."""
    tested = frame["p_value"].notna()
    p_holm = pd.Series(np.nan, frame.index)
    p_holm[tested] = uncertainty.holm(frame.loc[tested, "p_value"].to_numpy())
    return frame.assign(p_holm=p_holm)


def sweep(paths: Sequence[str | Path], resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """The effect of deactivating a language, at several ratios of selected neurons (Fig. 4).

    Args:
        paths: perplexity headers, each with its TSV beside it. Each model needs its baseline, and rows of one language
            or more at several ratios.
        resamples: as for `changes`.
        seed: as for `changes`.

    Returns:
        one row per model, deactivated language, ratio and evaluated language. Columns: model, deactivated, ratio
        (rising, from 0 for the baseline), neurons (how many were deactivated), and the columns of `changes` from
        `evaluated` to `bits_change_high`.

    Raises:
        LapeError: a row names no ratio or comes twice, or was measured on other chunks than its baseline.
    """
    measured = load(paths)
    draws = drawing(resamples, seed)
    cells = []
    for model, base in baselines(measured).items():
        rows: dict[str, dict[float, Measurement]] = {}
        for row in measured:
            if row.header["model"] != model or row is base:
                continue
            if row.header.get("ratio") is None or row.header["method"] != "lape":
                raise LapeError(f"{row.path}: names no ratio of LAPE; pass rows of neurons that it selected by ratio")
            ratios = rows.setdefault(row.header["deactivated"], {0.0: base})
            if ratios.setdefault(row.header["ratio"], row) is not row:
                raise LapeError(f"{row} at ratio {row.header['ratio']}: comes twice; pass each perplexity header once")
        if not rows:
            raise LapeError(f"perplexity of {model}: only the {BASELINE}; pass a row at one ratio or more")
        for name, ratios in rows.items():
            for ratio, row in sorted(ratios.items()):
                neurons = row.header["hooks"]["neurons"] if row is not base else 0
                own = {"model": model, "deactivated": name, "ratio": ratio, "neurons": neurons}
                cells += [own | _cell(row, base, evaluated, draws) for evaluated in base.languages]
    return pd.DataFrame(cells)


def baseline(paths: Sequence[str | Path]) -> pd.DataFrame:
    """The perplexity of the unperturbed model in every language.

    Args:
        paths: perplexity headers. Those of deactivated sets are passed over.

    Returns:
        one row per model and language. Columns: model, language, tokens, nll, ppl, bytes, bits_per_byte.

    Raises:
        LapeError: a model has no baseline, or two, or a cell is missing.
    """
    cells = [
        {"model": model, "language": language, **row.measures[language]}
        for model, row in baselines(load(paths)).items()
        for language in row.languages
    ]
    return pd.DataFrame(cells)[["model", "language", "tokens", "nll", "ppl", "bytes", "bits_per_byte"]]


def matrix(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """One column of a frame of one model and method as a matrix, deactivated x evaluated, in the frame's order."""
    square = frame.pivot(index="deactivated", columns="evaluated", values=column)
    return square.loc[frame["deactivated"].unique(), frame["evaluated"].unique()]


def significant(frame: pd.DataFrame) -> pd.Series:
    """Whether each row of `changes` suffers more than under the control: p_holm < 0.05 and a higher NLL.

    No row does where there is no control.
    """
    return (frame["p_holm"] < SIGNIFICANT) & (frame["nll"] > frame["control_nll"])


def significant_cells(block: pd.DataFrame, tested: int) -> tuple[int, int] | tuple[None, None]:
    """How many cells of one matrix, on and off the diagonal, suffer more than under the control.

    Both numbers are None without a control, and where the chunks are too few for any cell to pass Holm's correction.

    Args:
        block: the matrix.
        tested: number of cells of the table that are tested.
    """
    smallest = max(uncertainty.smallest_p(chunks) for chunks in block["chunks"])
    if block["p_holm"].isna().any() or smallest * tested >= SIGNIFICANT:
        return None, None
    more, diagonal = significant(block), block["deactivated"] == block["evaluated"]
    return int(more[diagonal].sum()), int(more[~diagonal].sum())


def methods_and_controls(frame: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The methods of a frame of `changes`, and the controls of those methods.

    A control whose own method is not in the frame counts as a method.
    """
    names = list(frame["method"].unique())
    controls = [name for name in names if bare(name) != name and bare(name) in names]
    return [name for name in names if name not in controls], controls


def drawing(number: int, seed: int) -> Draws:
    """A function from a language and its number of chunks to the draws of its chunks. It makes each draw once."""
    if number < 1 or seed < 0:
        raise LapeError(f"{number} resamples, seed {seed}: give --resamples from 1 and --seed from 0; correct them")

    @cache
    def draws(language: str, chunks: int) -> np.ndarray:
        return uncertainty.resamples(chunks, number, [seed, *language.encode()])

    return draws


def _cell(row: Measurement, base: Measurement, evaluated: str, draws: Draws) -> dict:
    """The measures of one cell, those of its baseline, and the changes with their intervals."""
    perturbed, unperturbed = paired(row, base, evaluated)
    tokens, text_bytes, nll = unperturbed
    draw = draws(evaluated, len(tokens))
    own, reference = row.measures[evaluated], base.measures[evaluated]
    names = ("nll", "ppl", "bits_per_byte")
    cell = {"evaluated": evaluated, "tokens": own["tokens"], "chunks": len(tokens)}
    cell |= {name: own[name] for name in names} | {f"baseline_{name}": reference[name] for name in names}
    for change, name, sizes, perplexity in (
        ("ppl_change", "ppl", tokens, True),
        ("nll_change", "nll", tokens, False),
        ("bits_change", "bits_per_byte", text_bytes * math.log(2), False),
    ):
        low, high = uncertainty.change_interval(perturbed[2], nll, sizes, draw, perplexity)
        cell |= {change: own[name] - reference[name], f"{change}_low": low, f"{change}_high": high}
    return cell


def _tests(rows: dict[str, Measurement], control: dict[str, Measurement] | None, seed: int) -> dict[str, np.ndarray]:
    """The columns control_nll and p_value of one matrix, row by row."""
    if control is None:
        return dict.fromkeys(("control_nll", "p_value"), np.full(len(rows) ** 2, np.nan))
    columns = []
    for evaluated in rows:
        pairs = [paired(rows[name], control[name], evaluated) for name in rows]
        differences = np.stack([own[2] - other[2] for own, other in pairs])
        columns.append(uncertainty.sign_flip_test(differences, [seed, *evaluated.encode()]))
    nll = [control[name].measures[evaluated]["nll"] for name in rows for evaluated in rows]
    return {"control_nll": np.array(nll), "p_value": np.stack(columns, axis=1).ravel()}
