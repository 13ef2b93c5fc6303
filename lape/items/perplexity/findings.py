"""What a run found of perplexity under deactivation, in sentences with their uncertainty."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pandas as pd

from lape.artifacts.files import read_json
from lape.errors import LapeError, counted
from lape.items.layout import rounded
from lape.items.perplexity.draws import suffers_more
from lape.items.perplexity.inputs import control_in
from lape.items.perplexity.scores import ALL
from lape.items.tables import read

# Item -> the columns that are read of its table.
TABLES = {
    "deactivation_matrix": ("model", "method", "deactivated", "evaluated", "nll_change"),
    "specificity": ("model", "method", "cells", "languages", "share", "share_low", "share_high"),
    "control_draws": ("model", "method", "language", "draws", "rank", "p_holm", "control_rise", "control_high"),
}


def findings(headers: Iterable[Path]) -> Iterator[str]:
    """What each model's languages lose by their own neurons, by those of others, and by a control.

    Args:
        headers: of the tables that `TABLES` names, as many as there are. Without the first there are no findings.

    Raises:
        LapeError: a header or a table is missing or damaged, or of another item.
    """
    frames = {}
    for header in headers:
        item = read_json(header, "table")["item"]
        if item not in TABLES:
            raise LapeError(f"{header}: findings are not read from {item}; pass {', '.join(TABLES)}")
        frames[item] = read(header.with_suffix(".csv"), TABLES[item])
    matrix = frames.get("deactivation_matrix")
    if matrix is None:
        return
    for model, block in matrix[matrix["method"] == "lape"].groupby("model", sort=False):
        own = block[block["deactivated"] == block["evaluated"]].dropna(subset=["nll_change"])
        if own.empty:
            continue
        others = {item: _of(frame, model) for item, frame in frames.items() if item != "deactivation_matrix"}
        yield from _shares(model, others)
        yield _losses(model, block, matrix[matrix["model"] == model], others)
        yield from _ranks(others)
        most = own.loc[own["nll_change"].idxmax()]
        if most.nll_change > 0:
            yield (
                f"The largest loss: {most.evaluated} text without the neurons of {most.deactivated}. Its perplexity "
                f"goes from {rounded(most.baseline_ppl)} to {rounded(most.ppl)}, a rise of "
                f"{rounded(most.nll_change)} nats per token{_interval(most.nll_change_low, most.nll_change_high)}."
            )


def _of(frame: pd.DataFrame, model: str) -> pd.DataFrame:
    return frame[(frame["model"] == model) & (frame["method"] == "lape")]


def _shares(model: str, others: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    """How much of all losses falls on the language whose neurons are deactivated."""
    for row in others["specificity"].to_dict("records") if "specificity" in others else ():
        if row["cells"] == ALL and pd.notna(row["share"]):
            low, high = row["share_low"], row["share_high"]
            bounds = f"95% interval over languages {low:.0%} to {high:.0%}; " if pd.notna(low) else ""
            yield (
                f"Of all that {model} loses without one language's neurons, {row['share']:.0%} is lost in that "
                f"language ({bounds}{1 / row['languages']:.0%} if all languages lost alike)."
            )


def _losses(model: str, block: pd.DataFrame, matrix: pd.DataFrame, others: Mapping[str, pd.DataFrame]) -> str:
    """What a language loses on average by its own neurons, by those of others, and by the control of its own."""
    own, other = (
        block[(block["deactivated"] == block["evaluated"]) == diagonal]["nll_change"].mean()
        for diagonal in (True, False)
    )
    line = (
        f"Under {model} the text of a language loses {rounded(own)} nats per token without the neurons that LAPE finds "
        f"for it, and {rounded(other)} without those of another language."
    )
    control, draws = control_in("lape", set(matrix["method"])), others.get("control_draws")
    if draws is not None and len(draws):
        mean, number = draws["control_rise"].mean(), int(draws["draws"].iat[0])
        line += (
            f" Without as many neurons of the same layers that are as active in the language it loses {rounded(mean)} "
            f"(mean of {counted(number, 'draw')})."
        )
    elif control is not None:
        rows = matrix[(matrix["method"] == control) & (matrix["deactivated"] == matrix["evaluated"])]
        line += f" Without a control of as many neurons it loses {rounded(rows['nll_change'].mean())}."
    return line


def _ranks(others: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    """In how many languages the own neurons matter more than every draw of the control."""
    draws = others.get("control_draws")
    if draws is None or draws.empty:
        return
    first = draws[draws["rank"] == 1]["language"]
    line = (
        f"In {len(first)} of {counted(len(draws), 'language')} ({', '.join(first) or 'none'}) the loss is larger than "
        "under every draw of that control"
    )
    if draws["p_holm"].notna().any():
        line += f", and in {int(suffers_more(draws).sum())} by more than draws and text explain (p < 0.05, Holm)"
    yield f"{line}."


def _interval(low: float, high: float) -> str:
    return "" if pd.isna(low) else f" (95% interval {rounded(low)} to {rounded(high)})"
