"""What a matrix of perplexity under deactivation says, in sentences with their uncertainty."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from lape.artifacts.files import read_json
from lape.errors import counted
from lape.items.layout import rounded
from lape.items.perplexity.inputs import CONTROL
from lape.items.perplexity.rows import significant, significant_cells
from lape.items.tables import read


def findings(header: Path) -> Iterator[str]:
    """How far each model's languages lose by their own neurons and by those of others.

    Args:
        header: of the table deactivation_matrix.

    Raises:
        LapeError: the header or the table is missing or damaged.
    """
    read_json(header, "table")
    columns = ("model", "method", "deactivated", "evaluated", "nll_change")
    frame = read(header.with_suffix(".csv"), columns)
    for model, block in frame[frame["method"] == "lape"].groupby("model", sort=False):
        own = block[block["deactivated"] == block["evaluated"]].dropna(subset=["nll_change"])
        if own.empty:
            continue
        yield _losses(str(model), block, frame[(frame["model"] == model) & (frame["method"] == f"{CONTROL}lape")])
        yield from _tested(block)
        most = own.loc[own["nll_change"].idxmax()]
        if most.nll_change <= 0:
            continue
        yield (
            f"The largest loss: {most.evaluated} text without the neurons of {most.deactivated}. Its perplexity goes "
            f"from {rounded(most.baseline_ppl)} to {rounded(most.ppl)}, a rise of {rounded(most.nll_change)} nats per "
            f"token{_interval(most.nll_change_low, most.nll_change_high)}."
        )


def _losses(model: str, block: pd.DataFrame, control: pd.DataFrame) -> str:
    """What a language loses on average by its own neurons, by those of others, and by the control of its own."""
    own, others, random = (
        rows[(rows["deactivated"] == rows["evaluated"]) == diagonal]["nll_change"].mean()
        for rows, diagonal in ((block, True), (block, False), (control, True))
    )
    line = (
        f"Under {model} the text of a language loses {rounded(own)} nats per token without the neurons that LAPE finds "
        f"for it, and {rounded(others)} without those of another language."
    )
    if pd.notna(random):
        line += f" Without as many random neurons of the same layers it loses {rounded(random)}."
    return line


def _tested(block: pd.DataFrame) -> Iterator[str]:
    """How many languages suffer more than under the control, where there are enough chunks to tell."""
    on, off = significant_cells(block)
    if on is None:
        return
    languages = block["deactivated"].nunique()
    named = block.loc[significant(block) & (block["deactivated"] == block["evaluated"]), "evaluated"]
    yield (
        f"{on} of {counted(languages, 'language')} ({', '.join(named) or 'none'}) suffer more without their own "
        f"neurons than under the control, and {off} of {languages * (languages - 1)} pairs of two languages do "
        "(paired test over chunks of text, Holm's correction, p < 0.05; the control is one draw)."
    )


def _interval(low: float, high: float) -> str:
    return "" if pd.isna(low) else f" (95% interval {rounded(low)} to {rounded(high)})"
