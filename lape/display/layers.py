"""Numbers by layer: ranges of layers, a strip as text and as SVG, and bars in panels. People count layers from 1."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from lape.model.sites import layer_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# From nothing to the highest value of a strip.
_BLOCKS = "·▁▂▃▄▅▆▇█"
_COLOUR = "#0072B2"
_WIDTH, _HEIGHT = 7, 16  # of a layer's bar in an SVG strip, in pixels


def ranges(layers: Iterable[int]) -> str:
    """The names of some layers: of 0, 11, 12 and 13 it is "1, 12-14".

    Args:
        layers: numbers of layers from 0, in any order.
    """
    runs: list[list[int]] = []
    for layer in sorted(set(layers)):
        if runs and layer == runs[-1][1] + 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    return ", ".join(str(first + 1) if first == last else f"{first + 1}-{last + 1}" for first, last in runs)


def bars(values: np.ndarray) -> str:
    """One character per layer, the higher the larger the layer's value; a dot where the value is 0."""
    return "".join(_BLOCKS[level] for level in np.ceil(8 * _shares(values)).astype(int))


def drawn(values: np.ndarray) -> str:
    """One bar per layer, as an SVG image. Each bar names its layer and its value where the mouse points at it."""
    rectangles = "".join(
        f"<g><title>{layer_label(layer - 1)}: {value:,.6g}</title>"
        f'<rect x="{(layer - 1) * _WIDTH}" y="0" width="{_WIDTH - 1}" height="{_HEIGHT}" fill="{_COLOUR}" '
        f'fill-opacity="0.08"/><rect x="{(layer - 1) * _WIDTH}" y="{_HEIGHT * (1 - share):.1f}" width="{_WIDTH - 1}" '
        f'height="{_HEIGHT * share:.1f}" fill="{_COLOUR}"/></g>'
        for layer, (value, share) in enumerate(zip(values, _shares(values), strict=True), 1)
    )
    return f'<svg width="{len(values) * _WIDTH}" height="{_HEIGHT}" role="img">{rectangles}</svg>'


def panels(counts: Mapping[str, np.ndarray], ylabel: str) -> "np.ndarray[Axes]":
    """Draw numbers per layer with matplotlib's pyplot, one panel per name, all on one scale.

    Args:
        counts: name -> a number per layer.
        ylabel: what the numbers count.

    Returns:
        the axes of the panels, one per name.
    """
    from matplotlib import pyplot

    across = min(4, len(counts)) or 1
    down = -(-len(counts) // across) or 1
    figure, axes = pyplot.subplots(
        down, across, sharex=True, sharey=True, squeeze=False, layout="constrained", figsize=(2.4 * across, 1.8 * down)
    )
    axes = axes.ravel()
    for axis, (name, values) in zip(axes, counts.items(), strict=False):
        axis.bar(np.arange(1, len(values) + 1), values, width=1, color=_COLOUR)
        axis.set_title(f"{name}: {int(np.sum(values)):,} {ylabel}", fontsize=9)
    for axis in axes[len(counts) :]:
        axis.remove()
    figure.supxlabel("layer, from 1", fontsize=9)
    figure.supylabel(ylabel, fontsize=9)
    return axes[: len(counts)]


def _shares(values: np.ndarray) -> np.ndarray:
    """Values as shares of the highest; 0 for values that are 0, negative or NaN."""
    values = np.nan_to_num(np.asarray(values, float)).clip(0)
    return values / (values.max(initial=0) or 1)
