"""Words beside points, placed so that they hide neither points nor one another."""

from collections.abc import Iterable
from itertools import product
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

_SIZE = 6.5  # points, of the letters
_POINT = 3.0  # points, half the size of a marker
# Where a word may stand around its point, the nearest places first: signs across and down, and a distance in points.
_PLACES = [
    (across * distance, down * distance)
    for distance, (across, down) in product((4, 9, 15, 22), product((1, -1, 0), (1, -1, 0)))
    if across or down
]


class Label(NamedTuple):
    """A word for the point (x, y) of a panel, in a colour."""

    x: float
    y: float
    text: str
    colour: str


def place_labels(axis: Axes, labels: Iterable[Label]) -> None:
    """Write words beside their points, each in the first place that hides least.

    The panel must be drawn to its end but for the words: its limits and its place in the figure are taken as they are.

    Args:
        axis: the panel.
        labels: the words, those that matter most first.
    """
    labels = list(labels)
    axis.figure.draw_without_rendering()
    scale = axis.figure.dpi / 72
    points = [axis.transData.transform((label.x, label.y)) for label in labels]
    taken = [_box(x, y, _POINT * scale, _POINT * scale) for x, y in points]
    panel = axis.get_window_extent()
    for label, (x, y) in zip(labels, points, strict=True):
        width, height = 0.62 * _SIZE * len(label.text) * scale / 2, 0.72 * _SIZE * scale / 2

        def box(place: tuple[float, float], x=x, y=y, width=width, height=height) -> Bbox:
            across, down = (offset * scale for offset in place)
            return _box(x + across + _sign(across) * width, y + down + _sign(down) * height, width, height)

        def hidden(place: tuple[float, float], box=box) -> tuple[float, int]:
            here = box(place)
            inside = Bbox.intersection(here, panel)
            outside = _area(here) - (_area(inside) if inside else 0)
            return outside + sum(_area(Bbox.intersection(here, other)) for other in taken), _PLACES.index(place)

        across, down = best = min(_PLACES, key=hidden)
        taken.append(box(best))
        axis.annotate(
            label.text,
            (label.x, label.y),
            (across, down),
            textcoords="offset points",
            ha={1: "left", -1: "right", 0: "center"}[_sign(across)],
            va={1: "bottom", -1: "top", 0: "center"}[_sign(down)],
            color=label.colour,
            fontsize=_SIZE,
            path_effects=[withStroke(linewidth=1.5, foreground="white")],
            zorder=2.5,
        ).set_in_layout(False)


def _box(x: float, y: float, width: float, height: float) -> Bbox:
    return Bbox([[x - width, y - height], [x + width, y + height]])


def _area(box: Bbox | None) -> float:
    return 0.0 if box is None else box.width * box.height


def _sign(number: float) -> int:
    return (number > 0) - (number < 0)
