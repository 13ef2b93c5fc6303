"""A method beside several draws of its control, on each language's own text."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lape.artifacts.files import checked, read_headers
from lape.errors import LapeError
from lape.evaluation.uncertainty import over_draws
from lape.items.layout import Section, rounded
from lape.items.perplexity.inputs import baselines, control_in, load, matrices, paired
from lape.items.perplexity.rows import SIGNIFICANT, corrected


def control_draws(paths: Sequence[str | Path]) -> pd.DataFrame:
    """The rise of each language under its own set, and under every draw of the control of the set.

    Args:
        paths: perplexity headers of the baseline, of every method's matrix and of the matrix of its control, which is
            the first draw; and headers of further draws. Each has its TSV beside it.

    Returns:
        one row per model, method and language. Columns:
        - model, method, control_method, language, draws, chunks;
        - rise (mean NLL rise under the set, nats per token), control_rise (mean over draws), control_low and
          control_high (the smallest and the largest of the draws);
        - difference (rise less control_rise) with difference_low and difference_high (95%, over draws and chunks),
          p_value and p_holm (over all rows); see `lape.evaluation.uncertainty.over_draws`, which gives no bounds and no
          p_value where there are few draws;
        - rank (1: above every draw) and p_rank.

    Raises:
        LapeError: a matrix or a draw is missing, or draws were measured on other chunks.
    """
    kinds = read_headers(paths, ("perplexity", "draws"))
    measured = load(path for path, header in kinds.items() if header["artifact"] == "perplexity")
    base, found = baselines(measured), matrices(measured)
    further = {
        (header["model"], header["method"], header["language"]): (path, header)
        for path, header in kinds.items()
        if header["artifact"] == "draws"
    }
    lines = []
    for (model, method), rows in found.items():
        control = control_in(method, [other for of, other in found if of == model])
        if control is None:
            continue
        for language, row in rows.items():
            own, unperturbed = paired(row, base[model], language)
            first, _ = paired(found[model, control][language], base[model], language)
            if (model, method, language) not in further:
                raise LapeError(f"draws of {model}, {method}, {language}: missing; run `lape draws` for it")
            draws = np.concatenate([first[None, 2], _nll(*further[model, method, language], unperturbed[0])])
            sizes = unperturbed[0]
            rises = (draws - unperturbed[2]).sum(axis=1) / sizes.sum()
            compared = over_draws(own[2], draws, sizes)
            lines.append(
                {
                    **{"model": model, "method": method, "control_method": control, "language": language},
                    **{"draws": len(draws), "chunks": len(sizes)},
                    "rise": (own[2] - unperturbed[2]).sum() / sizes.sum(),
                    **{"control_rise": rises.mean(), "control_low": rises.min(), "control_high": rises.max()},
                    "difference": compared.difference,
                    **{"difference_low": compared.low, "difference_high": compared.high, "p_value": compared.p_value},
                    **{"rank": compared.rank, "p_rank": compared.p_rank},
                }
            )
    if not lines:
        raise LapeError("draws: no method has a control among the inputs; pass the matrices of both")
    return corrected(pd.DataFrame(lines))


def suffers_more(frame: pd.DataFrame) -> pd.Series:
    """Whether a language suffers more under its set than under every draw, and more than draws and chunks explain."""
    return (frame["p_holm"] < SIGNIFICANT) & (frame["rank"] == 1)


def draw_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model and method one row per language."""
    sections = []
    for (model, method), block in frame.groupby(["model", "method"], sort=False):
        draws = block["draws"].iat[0]
        star = suffers_more(block)
        low, high = block["difference_low"].map(rounded), block["difference_high"].map(rounded)
        interval = np.where(block["difference_low"].isna(), "", " [" + low + ", " + high + "]")
        cells = pd.DataFrame(
            {
                "NLL rise": block["rise"].map(rounded),
                f"mean of {draws} draws": block["control_rise"].map(rounded),
                "smallest": block["control_low"].map(rounded),
                "largest": block["control_high"].map(rounded),
                "difference [95% interval]": block["difference"].map(rounded) + interval + np.where(star, "*", ""),
                "rank": [f"{rank} of {draws + 1}" for rank in block["rank"]],
            }
        ).set_index(block["language"].rename(None))
        title = (
            f"{model}, {method}: NLL rise (nats per token) of each language under its own set and under draws of its "
            "control"
        )
        if block["p_value"].notna().any():
            title += f"; * suffers more than under every draw (and p < {SIGNIFICANT} over draws and chunks, Holm)"
        sections.append(Section(title, "language", cells))
    return sections


def _nll(path: Path, header: dict, tokens: np.ndarray) -> np.ndarray:
    """NLL of every draw and chunk [D, N], after a check that the chunks are those of the matrices."""
    data = checked(path, header, ".tsv")
    try:
        frame = pd.read_csv(data, sep="\t")
        nll = frame.pivot(index="seed", columns="chunk", values="nll").to_numpy(float)
        sizes = frame.pivot(index="seed", columns="chunk", values="tokens").to_numpy(float)
    except (OSError, ValueError, KeyError) as error:
        raise LapeError(f"{data}: is not a table of draws ({error}); run `lape draws` again") from error
    if sizes.shape[1] != len(tokens) or (sizes != tokens).any() or np.isnan(nll).any():
        raise LapeError(f"{data}: was measured on other chunks than the matrices; run `lape draws` again")
    return nll
