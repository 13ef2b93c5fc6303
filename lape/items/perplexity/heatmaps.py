"""Figs. 2, 3 and 8: what deactivating one language's neurons does to every language."""

from collections.abc import Callable, Iterator

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, SymLogNorm
from matplotlib.figure import Figure

from lape.items.drawing.heatmap import cell_side, colour_bar, heatmap, panel_size, shared_bar
from lape.items.drawing.style import grid, in_column, method_name, text_width
from lape.items.perplexity.inputs import bare
from lape.items.perplexity.rows import matrix, methods_and_controls, significant

COLUMNS = ("model", "method", "deactivated", "evaluated", "nll", "control_nll", "ppl_change", "nll_change", "p_holm")
BY_MODEL_COLUMNS = (*COLUMNS, "bits_change")

_Scale = Callable[[pd.Series], Normalize]

# A model that guesses among the tokens of its vocabulary has a PPL below this. Larger changes have one colour.
_BROKEN = 1e6
_LABELS = {
    "ppl_change": "PPL change",
    "nll_change": "ln(PPL / baseline PPL), nats per token",
    "bits_change": "change of bits per byte",
}


def deactivation_matrix(frame: pd.DataFrame) -> Figure:
    """PPL change of each method beside its control, one row of panels per model.

    In a panel a row is the deactivated language and a column the evaluated one. The scale is linear up to 1 and
    logarithmic above, as the changes span 0 to several hundred. A number is bold where the language suffers more than
    under the control.

    Args:
        frame: the table of `lape.items.perplexity.rows.changes`.
    """
    return _panels(frame, "ppl_change", _ppl_scale)


def deactivation_log_ratio(frame: pd.DataFrame) -> Figure:
    """ln(PPL / baseline PPL), the NLL change in nats per token, in the layout of `deactivation_matrix`.

    Unlike PPL changes, NLL changes of different languages can be compared.

    Args:
        frame: the table of `lape.items.perplexity.rows.changes`.
    """
    return _panels(frame, "nll_change", _linear_scale)


def deactivation_by_method(frame: pd.DataFrame) -> Figure:
    """PPL change of every method side by side on one scale (Fig. 2). Controls are left out.

    Args:
        frame: the table of `lape.items.perplexity.rows.changes`.
    """
    return _panels(frame[~frame["method"].isin(methods_and_controls(frame)[1])], "ppl_change", _ppl_scale)


def deactivation_by_model(frame: pd.DataFrame) -> Figure:
    """Per model the change of PPL and that of bits per byte, each on one scale (Fig. 3).

    Bits per byte can be compared between models of different tokenizers.

    Args:
        frame: the table of `lape.items.perplexity.rows.changes`.
    """
    frame = frame[~frame["method"].isin(methods_and_controls(frame)[1])]
    scales = {"ppl_change": _ppl_scale(frame["ppl_change"]), "bits_change": _linear_scale(frame["bits_change"])}
    matrices = list(_matrices(frame))
    side = max(_side(block) for block in matrices)
    width, high = (side, 2 * len(matrices)) if in_column() else (2 * side + 0.3, len(matrices))
    figure = Figure(figsize=(width, high * (side + 0.3) + 0.6), layout="compressed")
    axes = grid(figure, len(matrices), len(scales))
    for line, block in zip(axes, matrices, strict=True):
        for axis, (column, scale) in zip(line, scales.items(), strict=True):
            _panel(axis, block, column, scale)
        for axis in line if in_column() else line[:1]:
            axis.set_ylabel("deactivated language")
    for axis in axes[-1]:
        axis.set_xlabel("evaluated language")
    for place, (column, scale) in enumerate(scales.items()):
        where = {"location": "bottom", "aspect": 8 * side, "pad": 0.05 / len(matrices)}
        colour_bar(figure, list(axes[:, place]), scale, _LABELS[column], frame[column].min(), **where)
    return figure


def deactivation_random(frame: pd.DataFrame) -> Figure:
    """PPL change of the random sets side by side (Fig. 8).

    Args:
        frame: the table of `lape.items.perplexity.rows.changes`.
    """
    # The scale reaches at least 100, the usual size of an effect in Fig. 2, so that small changes look small.
    return _panels(frame, "ppl_change", lambda values: _ppl_scale(values, 100))


def _ppl_scale(values: pd.Series, least: float = 10) -> Normalize:
    # Changes below one point of PPL must not look like an effect.
    most = max(values.abs().max(), least)
    shown = min(most, _BROKEN)
    return SymLogNorm(linthresh=1, vmin=-shown, vmax=shown, base=10, clip=most > shown)


def _linear_scale(values: pd.Series) -> Normalize:
    # The scale reaches at least 0.5, so that smaller changes do not look like an effect.
    most = max(values.abs().max(), 0.5)
    return Normalize(-most, most)


def _panels(frame: pd.DataFrame, column: str, norm: _Scale) -> Figure:
    """One heatmap per model and method, all on one scale. A model's stand side by side up to the width of the page."""
    scale = norm(frame[column])
    groups = [list(_matrices(block)) for _, block in frame.groupby("model", sort=False)]
    if max(map(len, groups)) == 1:
        groups = [[block for group in groups for block in group]]
    side = max(_side(block) for group in groups for block in group)
    across = min(max(map(len, groups)), max(1 if in_column() else 2, int(text_width() / side)))
    lines = [group[start : start + across] for group in groups for start in range(0, len(group), across)]

    figure = Figure(figsize=panel_size(across * side, len(lines) * (side + 0.2) + 0.1), layout="compressed")
    axes = figure.subplots(len(lines), across, squeeze=False)
    for line, (places, blocks) in enumerate(zip(axes, lines, strict=True)):
        for axis in places[len(blocks) :]:
            axis.remove()
        for axis, block in zip(places, blocks, strict=False):
            _panel(axis, block, column, scale)
            if line == len(lines) - 1:
                axis.set_xlabel("evaluated language")
        places[0].set_ylabel("deactivated language")
    drawn = [axis for line, blocks in zip(axes, lines, strict=True) for axis in line[: len(blocks)]]
    shared_bar(figure, drawn, scale, _LABELS[column], frame[column].min())
    return figure


def _panel(axis: Axes, block: pd.DataFrame, column: str, scale: Normalize) -> None:
    """Draw one matrix. The numbers of cells that suffer more than under the control are bold.

    The title of a method without a control says so.
    """
    heatmap(axis, matrix(block, column), scale, bold=matrix(block.assign(bold=significant(block)), "bold"))
    model, method = block["model"].iat[0], block["method"].iat[0]
    tested = method == "random" or method != bare(method) or block["p_holm"].notna().any()
    axis.set_title(f"{model}, {method_name(method)}{'' if tested else ' (not tested)'}")


def _matrices(frame: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The rows of each model and method."""
    return (block for _, block in frame.groupby(["model", "method"], sort=False))


def _side(block: pd.DataFrame) -> float:
    """The side of one matrix with its labels, in inches."""
    cells = matrix(block, "ppl_change")
    return len(cells.columns) * cell_side(cells) + 0.6
