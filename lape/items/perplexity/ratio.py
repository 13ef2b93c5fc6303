"""Fig. 4: the effect of deactivating one language, against the share of neurons that are selected."""

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lape.items.drawing.lines import COLOURS, DASHES, name_ends
from lape.items.drawing.style import BLUE, in_column, panels, text_width

COLUMNS = ("model", "deactivated", "ratio", "evaluated", "ppl_change", "ppl_change_low", "ppl_change_high")

# Blue is kept for the deactivated language.
_OTHERS = [colour for colour in COLOURS if colour != BLUE]


def deactivation_by_ratio(frame: pd.DataFrame) -> Figure:
    """PPL change of every language against the ratio, one panel per model and deactivated language, with 95% bands.

    The axis is linear up to 1 and logarithmic above, as in Fig. 2. Lines are named at their ends; the deactivated
    language is bold.

    Args:
        frame: the table of `lape.items.perplexity.rows.sweep`.
    """
    blocks = [block for _, block in frame.groupby(["model", "deactivated"], sort=False)]
    across, width = min(len(blocks), 1 if in_column() else 2), min(3.5, text_width())
    down = math.ceil(len(blocks) / across)
    figure = Figure(figsize=(width * across, 2.8 * down), layout="constrained")
    axes = panels(figure, down, across, len(blocks), sharey=True)
    for axis, block in zip(axes, blocks, strict=True):
        _lines(axis, block)
    for axis, block in zip(axes, blocks, strict=True):
        _names(axis, block)
    return figure


def _lines(axis: Axes, block: pd.DataFrame) -> None:
    """Draw one panel's lines and bands."""
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
    """Write each language at the end of its line, the deactivated one in bold."""
    last = block[block["ratio"] == block["ratio"].max()]
    ends = dict(zip(last["evaluated"], last["ppl_change"], strict=True))
    colours = {language: _look(block, language)[0] for language in ends}
    name_ends(axis, ends, colours, bold=block["deactivated"].iat[0])


def _look(block: pd.DataFrame, language: str) -> tuple[str, str]:
    """Colour and dashes of a language's line. The deactivated language is blue."""
    deactivated = block["deactivated"].iat[0]
    if language == deactivated:
        return BLUE, "-"
    others = [name for name in block["evaluated"].unique() if name != deactivated]
    dashes, colour = divmod(others.index(language), len(_OTHERS))
    return _OTHERS[colour], DASHES[dashes % len(DASHES)]
