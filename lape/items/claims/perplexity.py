"""What the papers say of perplexity under deactivation."""

from collections.abc import Iterator

import pandas as pd

from lape.items.claims.verdict import FAILS, HOLDS, OPEN, TANG, Claim, above, mean_interval
from lape.items.perplexity.rows import significant
from lape.items.perplexity.scores import ALL

_SPECIFIC = "deactivating a language's neurons hurts that language, and others little"
_KIN = ("zh", "ja")


def of_scores(frame: pd.DataFrame) -> Iterator[Claim]:
    """From the table `specificity` of one model."""
    own = frame[(frame["method"] == "lape") & (frame["cells"] == ALL)]
    for row in own.to_dict("records"):
        number = row["languages"]
        yield Claim(
            _SPECIFIC,
            f"{TANG} 3.2",
            f"share of the total NLL rise on the diagonal, above {1 / number:.2f}; interval over languages",
            row["share"],
            row["share_low"],
            row["share_high"],
            above(1 / number, row["share_low"], row["share_high"]),
        )
        yield Claim(
            "every language suffers most from the loss of its own neurons",
            f"{TANG} 3.2",
            f"rows of the matrix led by the diagonal, all {number}",
            row["largest"],
            verdict=HOLDS if row["largest"] == number else FAILS,
        )


def of_draws(frame: pd.DataFrame) -> Iterator[Claim]:
    """From the table `control_draws` of one model."""
    own = frame[frame["method"] == "lape"]
    value, low, high = mean_interval(own["difference"].to_numpy())
    yield Claim(
        "language-specific neurons matter more to their language than other neurons",
        f"{TANG} 3.2",
        "rise of a language under its own set less that under activity-matched draws, nats per token, above 0; mean "
        "and interval over languages",
        value,
        low,
        high,
        above(0, low, high),
    )


def of_changes(frame: pd.DataFrame) -> Iterator[Claim]:
    """From the table `deactivation_matrix` of one model."""
    own = frame[frame["method"] == "lape"]
    cells = own.assign(more=significant(own)).set_index(["deactivated", "evaluated"])
    if not {*_KIN} <= set(own["evaluated"]):
        return
    for deactivated, evaluated in (_KIN, _KIN[::-1]):
        cell = cells.loc[(deactivated, evaluated)]
        others = cells.loc[deactivated].drop(index=[deactivated, evaluated])["nll_change"]
        most = max(others, default=0.0)
        verdict = above(most, cell["nll_change_low"], cell["nll_change_high"])
        if verdict == HOLDS and not cell["more"]:
            verdict = OPEN
        yield Claim(
            f"without the neurons of {deactivated}, {evaluated} suffers",
            f"{TANG} 3.2",
            f"NLL rise of {evaluated}, nats per token, above that of all other languages and of the control",
            cell["nll_change"],
            cell["nll_change_low"],
            cell["nll_change_high"],
            verdict,
        )
