"""Steered answers: the matrix of cross-lingual success, and language accuracy against fluency as the dose grows."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from lape.items.answers.rows import ALL
from lape.items.answers.sections import beats_control, success_matrix
from lape.items.drawing.heatmap import cell_side, heatmap, panel_size, shared_bar
from lape.items.drawing.labels import Label, place_labels
from lape.items.drawing.lines import COLOURS
from lape.items.drawing.style import GREY, grid, grid_size, in_column, legend_columns, method_name

CROSS_COLUMNS = ("model", "prompt", "method", "deactivated", "target", "success", "difference", "p_holm")
DOSE_COLUMNS = ("model", "prompt", "kind", "mode", "positions", "strength", "share", "target", "language_accuracy")
DOSE_COLUMNS += ("low", "high", "nll", "nll_low", "nll_high", "distinct_2")

# Mode of steering -> colour and dashes, which tell the lines apart in a grey print too.
_MODES = {"set": (COLOURS[0], "-"), "max": (COLOURS[1], "--"), "add": (COLOURS[2], "-."), "scale": (COLOURS[3], ":")}
_MARKERS = "sD^vPXp*"
_WHOLE = ("all", 1.0)  # Only doses at all positions, with all neurons (share 1.0), are joined by a line.
_REPETITIVE = 0.5


def cross_lingual(frame: pd.DataFrame) -> Figure:
    """Share of answers in the target language, from 0 to 1: one row per model and prompt, LAPE beside its control.

    A number is bold where answers are in the target language more often than under the control.

    Args:
        frame: the table of `lape.items.answers.rows.cross_lingual`.
    """
    frame = frame[frame["target"] != ALL]
    groups = [block for _, block in frame.groupby(["model", "prompt"], sort=False)]
    methods = frame["method"].unique()
    matrices = [success_matrix(own, "success") for block in groups for _, own in block.groupby("method")]
    side = max(cell_side(cells) * len(cells) for cells in matrices) + 0.6
    across, down = (1, len(groups) * len(methods)) if in_column() else (len(methods), len(groups))
    figure = Figure(figsize=panel_size(across * side, down * (side + 0.2) + 0.1), layout="compressed")
    axes = grid(figure, len(groups), len(methods))
    scale = Normalize(0, 1)
    for line, block in zip(axes, groups, strict=True):
        model, prompt = block[["model", "prompt"]].iloc[0]
        for axis, method in zip(line, methods, strict=True):
            own = block[block["method"] == method]
            if own.empty:  # this model has no control
                axis.remove()
                continue
            bold = success_matrix(own.assign(bold=beats_control(own)), "bold").fillna(False)
            heatmap(axis, success_matrix(own, "success"), scale, bold=bold)
            axis.set_title(f"{model}, {prompt}: {method_name(method)}")
        for axis in line if in_column() else line[:1]:
            axis.set_ylabel("question's language, deactivated")
    for axis in axes[-1]:
        axis.set_xlabel("target language, steered")
    shared_bar(figure, list(axes.ravel()), scale, "share of answers in the target language")
    return figure


def dose_response(frame: pd.DataFrame) -> Figure:
    """Language accuracy against fluency at every dose: one row per model and prompt, one panel per kind of steering.

    Each mode of steering is a line that starts at the normal answers; its points carry the strength. Doses at other
    positions, or with a share of the neurons, have markers of their own and no line. A marker is hollow where the
    answers repeat themselves.

    Args:
        frame: the table of `lape.items.answers.rows.dose_response`.
    """
    frame = frame[frame["target"] == ALL]
    groups = [block for _, block in frame.groupby(["model", "prompt"], sort=False)]
    kinds = frame["kind"].unique()
    dosed = frame[frame["mode"] != ""]
    others = dict.fromkeys(zip(dosed["positions"], dosed["share"], strict=True))
    markers = {_WHOLE: "o"} | {
        variant: _MARKERS[place % len(_MARKERS)]
        for place, variant in enumerate(variant for variant in others if variant != _WHOLE)
    }
    width, height = grid_size(len(groups), len(kinds), 3.3, more=0.6)
    figure = Figure(figsize=(width if len(kinds) > 1 else min(width, 4.2), height), layout="constrained")
    axes, words = grid(figure, len(groups), len(kinds)), []
    for line, block in zip(axes, groups, strict=True):
        for axis, kind in zip(line, kinds, strict=True):
            own = block[block["kind"] == kind]
            if own.empty:
                axis.remove()
                continue
            words.append((axis, _doses(axis, own, markers)))
            what = {"steered": "own language steered", "cross": "across languages"}[kind]
            axis.set_title(f"{block['model'].iat[0]}, {block['prompt'].iat[0]}: {what}")
            axis.set_ylabel({"steered": "language accuracy", "cross": "share in the target language"}[kind])
    for axis in axes[-1]:
        axis.set_xlabel("mean NLL of the answers, nats per token\n(to the left: more fluent, or repetitive)")
    handles = _key(dosed, markers)
    ncols = legend_columns([handle.get_label() for handle in handles])
    figure.legend(handles=handles, loc="outside lower center", ncols=ncols, frameon=False)
    for axis, labels in words:
        place_labels(axis, labels)
    return figure


def _doses(axis: Axes, block: pd.DataFrame, markers: dict[tuple[str, float], str]) -> list[Label]:
    """One panel's points with their 95% intervals, and the paths between them; returns the words beside the points."""
    normal, dosed = block[block["mode"] == ""].iloc[0], block[block["mode"] != ""]
    words = [Label(normal["nll"], normal["language_accuracy"], "normal", "black")]
    for (mode, positions, share), rows in dosed.groupby(["mode", "positions", "share"], sort=False):
        colour, dash = _MODES[mode]
        if (positions, share) == _WHOLE:
            path = pd.concat([normal.to_frame().T, rows])
            axis.plot(path["nll"], path["language_accuracy"], dash, color=colour, linewidth=1)
        for one in rows.itertuples():
            _point(axis, one, colour, markers[positions, share])
            if (positions, share) == _WHOLE or len(rows) > 1:
                words.append(Label(one.nll, one.language_accuracy, f"{one.strength:g}", colour))
    _point(axis, normal, "black", "o")
    # The doses that matter lie close together, those that wreck the answers far out.
    axis.set_xscale("log")
    axis.margins(0.08)
    axis.xaxis.set_major_locator(MaxNLocator(7))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter("{x:g}")
    axis.spines[["top", "right"]].set_visible(False)
    return words


def _point(axis: Axes, one, colour: str, marker: str) -> None:
    axis.hlines(one.language_accuracy, one.nll_low, one.nll_high, color=colour, linewidth=0.6, alpha=0.5)
    axis.vlines(one.nll, one.low, one.high, color=colour, linewidth=0.6, alpha=0.5)
    face = "white" if one.distinct_2 < _REPETITIVE else colour
    axis.plot(one.nll, one.language_accuracy, marker, color=colour, markerfacecolor=face, markersize=4, zorder=3)


def _key(dosed: pd.DataFrame, markers: dict[tuple[str, float], str]) -> list[Line2D]:
    """The entries of the legend: what lines and markers mean."""
    modes = [mode for mode in _MODES if mode in set(dosed["mode"])]
    handles = [Line2D([], [], color=_MODES[mode][0], linestyle=_MODES[mode][1], label=mode) for mode in modes]
    for (positions, share), marker in markers.items():
        if (positions, share) != _WHOLE:
            what = [f"{positions} positions"] * (positions != "all") + [f"{100 * share:g}% of the neurons"] * (
                share != 1
            )
            handles.append(Line2D([], [], color=GREY, marker=marker, markersize=4, linestyle="", label=", ".join(what)))
    if (dosed["distinct_2"] < _REPETITIVE).any():
        hollow = {"color": GREY, "marker": "o", "markerfacecolor": "white", "markersize": 4, "linestyle": ""}
        handles.append(Line2D([], [], **hollow, label=f"repetitive: distinct-2 below {_REPETITIVE}"))
    return handles
