"""One look for every figure, and files whose bytes depend on the numbers alone."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lape.artifacts.files import writing

# Okabe and Ito's blue keeps its contrast for colour-blind readers and in print; grey is for controls.
BLUE = "#0072B2"
GREY = "#999999"

# Lightness falls evenly from near white: readable in a grey print and by colour-blind readers.
COLOURS = "Blues"

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


def panels(figure: Figure, down: int, across: int, number: int, **options) -> list[Axes]:
    """The first `number` panels of a grid, row by row. The other panels are removed.

    `options` are passed to `Figure.subplots`.
    """
    axes = list(figure.subplots(down, across, squeeze=False, **options).ravel())
    for axis in axes[number:]:
        axis.remove()
    return axes[:number]


def method_name(method: str) -> str:
    """A method as the paper prints it."""
    names = {"lape": "LAPE", "lap": "LAP", "lave": "LAVE", "pv": "PV", "random": "random (RS)"}
    names |= {"ap": "neurons by AP", "expert_units": "expert units"}
    return names.get(method, method)


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Matplotlib's defaults with our changes, whatever the user's matplotlibrc says."""
    with matplotlib.style.context(["default", _STYLE]):
        yield


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
