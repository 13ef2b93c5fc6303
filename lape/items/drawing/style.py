"""One look for every figure, and files whose bytes depend on the numbers alone."""

import contextlib
import contextvars
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lape.artifacts.files import writing
from lape.interventions.dose import STEERED

# The width of the text of a two-column page and of one column of it, in inches.
PAGE, COLUMN = 7.0, 3.3
_width = contextvars.ContextVar("_width", default=PAGE)

# Okabe and Ito's blue keeps its contrast for colour-blind readers and in print; grey is for controls.
BLUE = "#0072B2"
GREY = "#999999"

# Lightness falls evenly from near white: readable in a grey print and by colour-blind readers.
COLOURS = "Blues"
# Of changes, whose sign matters: white at 0, red above, blue below.
SIGNED = "RdBu_r"

# Up to this number of languages, rows or bars, each has room for its number or name.
LABELLED = 20

_STYLE = {
    "font.family": "DejaVu Sans",  # It ships with matplotlib, so that letters are the same on every machine.
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "savefig.dpi": 300,
    # Type 42 keeps text searchable and editable. Journals refuse Type 3 fonts, matplotlib's default for PDF.
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "lape",
}

# None leaves an entry out. Dates and versions would change the bytes of a file.
_METADATA = {
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".svg": {"Date": None, "Creator": None},
    ".png": {"Software": None},
}


def text_width() -> float:
    """The width that a figure is drawn for, in inches: `PAGE` or `COLUMN`."""
    return _width.get()


def in_column() -> bool:
    """Whether a figure is drawn for one column. Then panels stand below one another that otherwise stand in a row."""
    return text_width() < PAGE


def panels_across(number: int, each: float) -> int:
    """How many of `number` panels stand side by side, each of them `each` inches wide.

    On a page the panels of many models fill a square, which may be wider than the page.
    """
    least = 1 if in_column() else math.ceil(math.sqrt(number))
    return min(number, max(int(text_width() / each), least))


def grid(figure: Figure, rows: int, across: int, **options) -> np.ndarray:
    """The axes of `rows` rows of panels, [rows, across].

    In a column the panels of a row stand below one another, first the first ones of all rows. `options` are passed to
    `Figure.subplots`.
    """
    if not in_column():
        return figure.subplots(rows, across, squeeze=False, **options)
    return figure.subplots(rows * across, 1, squeeze=False, **options).reshape(across, rows).T


def grid_size(rows: int, across: int, height: float, more: float = 0.0) -> tuple[float, float]:
    """The size of a figure as wide as the text whose panels stand in a `grid`, in inches.

    Args:
        rows, across: see `grid`.
        height: height of a panel.
        more: height that is left for a legend.
    """
    return text_width(), height * rows * (across if in_column() else 1) + more


def legend_columns(labels: Sequence[str]) -> int:
    """How many columns the legend below a figure has."""
    return min(len(labels), 4 if not in_column() else 2 if max(map(len, labels)) <= 22 else 1)


def panels(figure: Figure, down: int, across: int, number: int, **options) -> list[Axes]:
    """The first `number` panels of a grid, row by row. The other panels are removed.

    `options` are passed to `Figure.subplots`.
    """
    axes = list(figure.subplots(down, across, squeeze=False, **options).ravel())
    for axis in axes[number:]:
        axis.remove()
    return axes[:number]


def method_name(method: str) -> str:
    """A method as the paper prints it; the control of LAPE by its kind, and another method's with the method."""
    names = {"lape": "LAPE", "lap": "LAP", "lave": "LAVE", "pv": "PV", "random": "random (RS)"}
    names |= {"ap": "neurons by AP", "expert_units": "expert units", "diffmean": "DiffMean, projected out"}
    for prefix, kind in (("active_", "activity-matched control"), ("matched_", "layer-matched control")):
        if method.startswith(prefix):
            own = method.removeprefix(prefix)
            kind = "magnitude-matched control" if method == "active_pv" else kind
            return kind if own == "lape" else f"{kind} of {names.get(own, own)}"
    if method.startswith(STEERED):
        return f"{method_name(method.removeprefix(STEERED))}, steered"
    return names.get(method, method)


@contextlib.contextmanager
def styled(width: float = PAGE) -> Iterator[None]:
    """Matplotlib's defaults with our changes, whatever the user's matplotlibrc says, for a width of the text."""
    token = _width.set(width)
    try:
        with matplotlib.style.context(["default", _STYLE]):
            yield
    finally:
        _width.reset(token)


def save(figure: Figure, path: str | Path) -> list[Path]:
    """Write a figure as PDF, SVG and PNG beside one another.

    Args:
        figure: the drawing.
        path: the PDF's path; the others take its stem.

    Returns:
        The three paths.
    """
    paths = [Path(path).with_suffix(suffix) for suffix in _METADATA]
    with styled():
        for target in paths:
            # The file is drawn in memory first. On a full disk, matplotlib's PDF writer would hide the error behind
            # one of its own.
            drawn = io.BytesIO()
            figure.savefig(
                drawn, format=target.suffix[1:], bbox_inches="tight", pad_inches=0.03, metadata=_METADATA[target.suffix]
            )
            with writing(target) as temporary:
                temporary.write_bytes(drawn.getvalue())
    return paths
