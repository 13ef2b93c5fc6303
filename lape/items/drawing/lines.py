"""Lines that are named at their ends, in colours that colour-blind readers tell apart."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from lape.items.drawing.style import BLUE

# Okabe and Ito's colours that can be read on white.
COLOURS = (BLUE, "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":")


def name_ends(
    axis: Axes, ends: Mapping[str, float], colours: Mapping[str, str], bold: str | None = None, gap: float = 0.055
) -> None:
    """Write each line's name right of the panel, moved apart where lines end close to one another.

    Args:
        axis: a panel whose limits are set.
        ends: name -> where its line ends, in the units of the vertical axis.
        colours: name -> colour.
        bold: the name that is written in bold.
        gap: least distance of two names, as a share of the panel's height.
    """
    names = sorted(ends, key=ends.get)
    low, high = axis.transScale.transform([(0, bound) for bound in axis.get_ylim()])[:, 1]
    heights = axis.transScale.transform([(0, ends[name]) for name in names])[:, 1]
    for name, place in zip(names, apart((heights - low) / (high - low), gap), strict=True):
        axis.annotate(
            name,
            (1, place),
            xycoords="axes fraction",
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=colours[name],
            fontweight="bold" if name == bold else "normal",
            annotation_clip=False,
        )


def apart(places: np.ndarray, gap: float) -> np.ndarray:
    """Move rising places as little as needed to leave `gap` between neighbours.

    Groups that touch are merged, and the merged group is centred on the mean of its places.
    """
    groups: list[list[float]] = []
    for place in places:
        groups.append([place])
        while len(groups) > 1 and _bottom(groups[-1], gap) < _bottom(groups[-2], gap) + gap * len(groups[-2]):
            groups[-2:] = [groups[-2] + groups[-1]]
    return np.concatenate([_bottom(group, gap) + gap * np.arange(len(group)) for group in groups])


def _bottom(group: list[float], gap: float) -> float:
    """The lowest place of a group that is spread with `gap` and centred on the mean of its places."""
    return sum(group) / len(group) - gap * (len(group) - 1) / 2
