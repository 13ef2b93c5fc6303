"""Fig. 4: what deactivating one language does, the more neurons are selected."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lape.figures.style import BLUE, panels

COLUMNS = ("model", "deactivated", "ratio", "evaluated", "ppl_change", "ppl_change_low", "ppl_change_high")

# Okabe and Ito's colours that can be read on white, besides the blue of the deactivated language.
_OTHERS = ("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", ":")


def figure4(frame: pd.DataFrame) -> Figure:
    """PPL change of every language against the ratio, one panel a model and deactivated language, with 95% bands.

    The axis is linear up to 1 and logarithmic above, as in Fig. 2. Lines are named at their ends; the deactivated
    language is bold.

    Args:
        frame: the table of `lape.tables.perplexity.sweep`.
    """
    blocks = [block for _, block in frame.groupby(["model", "deactivated"], sort=False)]
    across = min(len(blocks), 2)
    down = math.ceil(len(blocks) / across)
    figure = Figure(figsize=(3.5 * across, 2.8 * down), layout="constrained")
    axes = panels(figure, down, across, len(blocks), sharey=True)
    for axis, block in zip(axes, blocks, strict=True):
        _lines(axis, block)
    for axis, block in zip(axes, blocks, strict=True):
        _names(axis, block)
    return figure


def _lines(axis: Axes, block: pd.DataFrame) -> None:
    """One panel's lines and bands."""
    deactivated = block["deactivated"].iat[0]
    for language, rows in block.groupby("evaluated", sort=False):
        colour, dash = _look(block, language)
        own = language == deactivated
        share = 100 * rows["ratio"]
        axis.plot(
            share,
            rows["ppl_change"],
            dash,
            color=colour,
            linewidth=2 if own else 0.9,
            marker="o",
            markersize=3 if own else 2,
            zorder=3 if own else 2,
            clip_on=False,
        )
        axis.fill_between(share, rows["ppl_change_low"], rows["ppl_change_high"], color=colour, alpha=0.15, linewidth=0)
    axis.set_yscale("symlog", linthresh=1)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set_xlim(0, 100 * block["ratio"].max())
    axis.set_title(f"{block['model'].iat[0]}, {deactivated} deactivated")
    axis.set_xlabel("neurons selected, % of all")
    if axis.get_subplotspec().is_first_col():
        axis.set_ylabel("PPL change")
    axis.axhline(0, color="black", linewidth=0.4)
    axis.spines[["top", "right"]].set_visible(False)


def _names(axis: Axes, block: pd.DataFrame) -> None:
    """Each line's language at its end, moved apart where lines end close to one another."""
    last = block[block["ratio"] == block["ratio"].max()].sort_values("ppl_change")
    low, high = axis.transScale.transform([(0, bound) for bound in axis.get_ylim()])[:, 1]
    ends = axis.transScale.transform([(0, end) for end in last["ppl_change"]])[:, 1]
    places = _apart((ends - low) / (high - low), 0.055)
    for language, place in zip(last["evaluated"], places, strict=True):
        axis.annotate(
            language,
            (1, place),
            xycoords="axes fraction",
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=_look(block, language)[0],
            fontweight="bold" if language == block["deactivated"].iat[0] else "normal",
            annotation_clip=False,
        )


def _look(block: pd.DataFrame, language: str) -> tuple[str, str]:
    """Colour and dashes of a language's line: blue where it is the deactivated one."""
    deactivated = block["deactivated"].iat[0]
    if language == deactivated:
        return BLUE, "-"
    others = [name for name in block["evaluated"].unique() if name != deactivated]
    dashes, colour = divmod(others.index(language), len(_OTHERS))
    return _OTHERS[colour], _DASHES[dashes % len(_DASHES)]


def _apart(places: np.ndarray, gap: float) -> np.ndarray:
    """Rising places, moved as little as leaves `gap` between neighbours: groups that touch are centred as one."""
    groups: list[list[float]] = []
    for place in places:
        groups.append([place])
        while len(groups) > 1 and _bottom(groups[-1], gap) < _bottom(groups[-2], gap) + gap * len(groups[-2]):
            groups[-2:] = [groups[-2] + groups[-1]]
    return np.concatenate([_bottom(group, gap) + gap * np.arange(len(group)) for group in groups])


def _bottom(group: list[float], gap: float) -> float:
    """Where the lowest of a group goes that is centred on the mean of its places."""
    return sum(group) / len(group) - gap * (len(group) - 1) / 2
