"""What the papers say of answers and texts under steering and expert units."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from lape.items.claims.verdict import FAILS, HOLDS, KOJIMA, OPEN, TANG, Claim, above, outer_thirds

_METRIC = "language_accuracy"
_BOUND = 0.05  # of the overlap of two languages' expert units, by the second paper


def of_steering(frame: pd.DataFrame) -> Iterator[Claim]:
    """From the table `answers_steered` of one model: the rows of the mean over languages, per prompt."""
    means = frame[(frame["language"] == "") & (frame["metric"] == _METRIC)]
    for prompt, block in means.groupby("prompt", sort=False):
        rows = block.set_index("setting")
        yield from _above_control(
            rows,
            "steered",
            "steered_random",
            "steering raises the share of answers in the language",
            f"{TANG} 3.3.4",
            f"{prompt} prompt: change of language accuracy",
        )


def of_overlap(frame: pd.DataFrame) -> Iterator[Claim]:
    """From the table `expert_overlap` of one model."""
    pairs = frame[(frame["ranking"] == "both") & (frame["language"] != "")]["overlap"]
    if pairs.empty:
        return
    verdict = HOLDS if pairs.max() < _BOUND else FAILS if pairs.mean() > _BOUND else OPEN
    yield Claim(
        "two languages share under 5% of their expert units",
        f"{KOJIMA} abstract",
        f"mean overlap of top and bottom units, all pairs below {_BOUND}; smallest and largest pair for an interval",
        pairs.mean(),
        pairs.min(),
        pairs.max(),
        verdict,
    )


def of_layers(frame: pd.DataFrame) -> Iterator[Claim]:
    """From the table `expert_layers` of one model: top units over what chance gives, layer by layer."""
    top = frame[frame["ranking"] == "top"].groupby("layer")[["count", "expected"]].sum()
    if len(top) < 6:
        return
    share, expected, p_value = outer_thirds((top["count"] / top["expected"]).to_numpy())
    yield Claim(
        "expert units lie in the first and last layers",
        f"{KOJIMA} abstract",
        f"share of the top units, over chance, in the outer thirds of the layers, above {expected:.2f} (permutation of "
        f"layers: p = {p_value:.3f})",
        share,
        verdict=HOLDS if p_value < 0.05 else FAILS if share < expected else OPEN,
    )


def of_share(frame: pd.DataFrame) -> Iterator[Claim]:
    """From the table `expert_share` of one model: the rows of the mean over languages."""
    rows = frame[(frame["language"] == "") & (frame["metric"] == _METRIC)].set_index("kind")
    yield from _above_control(
        rows,
        "both",
        "random",
        "expert units set to their medians change the language of texts",
        f"{KOJIMA} abstract",
        "change of the share of texts in the target language",
    )


def _above_control(rows: pd.DataFrame, own: str, control: str, claim: str, section: str, what: str) -> Iterator[Claim]:
    """A change, and the change less that of the control, whose bounds are those of both together, which is wide."""
    if own not in rows.index:
        return
    found = rows.loc[own]
    bounds = found["change_low"], found["change_high"]
    yield Claim(claim, section, f"{what}, above 0", found["change"], *bounds, above(0, *bounds))
    if control in rows.index and not np.isnan(rows.loc[control, "change"]):
        other = rows.loc[control]
        bounds = found["change_low"] - other["change_high"], found["change_high"] - other["change_low"]
        value = found["change"] - other["change"]
        yield Claim(
            f"{claim}, more than a control does",
            section,
            f"{what}, less the control's, above 0",
            value,
            *bounds,
            above(0, *bounds),
        )
