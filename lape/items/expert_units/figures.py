"""Expert units: in which layers they lie, how precise they are, and what the texts under them are like."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from lape.errors import LapeError
from lape.items.drawing.language_panels import language_panels
from lape.items.drawing.lines import COLOURS, DASHES, name_ends
from lape.items.drawing.style import (
    BLUE,
    GREY,
    LABELLED,
    grid,
    grid_size,
    in_column,
    legend_columns,
    method_name,
    text_width,
)
from lape.items.expert_units.texts import ALL, NONE, SHARES
from lape.items.layers import heading
from lape.neurons.controls import PREFIXES

LAYER_COLUMNS = ("model", "ranking", "language", "layer", "kind", "count", "expected")
HISTOGRAM_COLUMNS = ("model", "language", "low", "high", "count", "chance", "cut")
SIZE_COLUMNS = ("model", "kind", "units", "language", "metric", "ours", "low", "high")
SHARE_COLUMNS = ("model", "setting", "language", "metric", "ours", "low", "high")

# One dark and one light colour, which differ in a grey print too.
_KINDS = {"attention": BLUE, "ffn": "#56B4E9"}
_NAMES = {"attention": "attention", "ffn": "FFN"}
_MARKERS = {"both": "o", "top": "^", "bottom": "v", "random": "x"}
_MEAN = "mean"
# Of the languages; black is the mean's. Two of Tol's muted colours stand beside Okabe and Ito's.
_LINES = (*COLOURS[:-1], "#882255", "#999933")
# Share of texts in the target language -> what the label of an axis adds to name the identifier, unless langdetect.
_IDENTIFIERS = {"language_accuracy": "", "lingua_accuracy": " (lingua)"}
_IDENTIFIERS |= {"fasttext_accuracy": " (fastText)", "heliport_accuracy": " (HeLI-OTS)"}


def expert_layers(frame: pd.DataFrame) -> Figure:
    """Units of all languages in each layer, attention and FFN stacked, one row per model.

    The top units are on the left, the bottom units on the right. The dashed line is the expected number of as many
    random units.

    Args:
        frame: the table of `lape.items.expert_units.units.layers`.
    """
    models = dict(list(frame.groupby("model", sort=False)))
    figure = Figure(figsize=grid_size(len(models), 2, 2.1, more=0.3), layout="constrained")
    axes = grid(figure, len(models), 2)
    for top, bottom in axes:
        bottom.sharex(top)
        bottom.sharey(top)
        bottom.tick_params(labelleft=in_column())
    for row, (model, block) in zip(axes, models.items(), strict=True):
        for axis, ranking in zip(row, ("top", "bottom"), strict=True):
            own = block[block["ranking"] == ranking]
            sums = own.groupby(["kind", "layer"])[["count", "expected"]].sum()
            layers = np.sort(own["layer"].unique())
            bottom = np.zeros(len(layers))
            for kind, colour in _KINDS.items():
                heights = sums["count"].reindex([(kind, layer) for layer in layers], fill_value=0).to_numpy()
                axis.bar(layers, heights, width=0.85, bottom=bottom, color=colour, label=_NAMES[kind])
                bottom += heights
            chance = own.groupby("layer")["expected"].sum()
            axis.stairs(chance, np.append(layers - 0.5, layers[-1] + 0.5), color="black", linestyle="--", baseline=None)
            axis.set_title(f"{model}, {ranking}: {own['count'].sum():,} units")
            axis.set_xlabel(heading(layers))
            axis.set_xlim(0.4, layers[-1] + 0.6)
            axis.xaxis.get_major_locator().set_params(integer=True, nbins=9, min_n_ticks=1)
            axis.yaxis.get_major_locator().set_params(integer=True, nbins=5)
            axis.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel("units")
    handles = axes[0, 0].get_legend_handles_labels()[0] + [Line2D([], [], color="black", linestyle="--", linewidth=1)]
    _legend(figure, handles, [*_NAMES.values(), "by chance"])
    return figure


def expert_histogram(frame: pd.DataFrame) -> Figure:
    """Average precision of all units, one panel per language, with one logarithmic scale per model.

    The dotted line is chance. The full line is the lowest average precision of the top units.

    Args:
        frame: the table of `lape.items.expert_units.units.histogram`.
    """
    figure = language_panels(frame, _histograms, lambda block: "average precision", "units", width=3.6, legend=0.25)
    handles = [Line2D([], [], color="black", linestyle=style, linewidth=0.9) for style in (":", "-")]
    _legend(figure, handles, ["chance", "lowest of the top units"])
    return figure


def expert_sizes(frame: pd.DataFrame) -> Figure:
    """Share of texts in the target language, and NLL of all texts, against the number of units; one row per model.

    Each language has a line for the units of both rankings, and the mean over the languages a bold line. Markers of the
    mean stand for other kinds of units. At the left end nothing is overwritten.

    Args:
        frame: the table of `lape.items.expert_units.texts.sizes`.

    Raises:
        LapeError: no identifier knows the languages of a model's texts.
    """
    frame = frame.assign(language=frame["language"].replace(ALL, _MEAN))
    models = dict(list(frame.groupby("model", sort=False)))
    figure = Figure(figsize=grid_size(len(models), 2, 2.7, more=0.3), layout="constrained")
    axes = grid(figure, len(models), 2)
    for row, (model, block) in zip(axes, models.items(), strict=True):
        share = _share_metric(model, block)
        for axis, metric in zip(row, (share, "nll"), strict=True):
            _sizes(axis, block[block["metric"] == metric])
            axis.set_title(model)
        row[0].set_ylabel(f"share in the target language{_IDENTIFIERS[share]}")
        row[0].set_ylim(-0.03, 1.05)
        row[0].yaxis.set_major_formatter(PercentFormatter(1))
        row[1].set_ylabel("NLL, nats per token")
        _name_lines(row, (share, "nll"), block)
    for axis in axes[-1]:
        axis.set_xlabel("units that are overwritten")
    kinds = [kind for kind in _MARKERS if kind in set(frame["kind"])]
    handles = [Line2D([], [], color=GREY, marker=_MARKERS[kind], markersize=4, linestyle="") for kind in kinds]
    _legend(figure, handles, [_kind_name(kind) for kind in kinds])
    return figure


def expert_share(frame: pd.DataFrame) -> Figure:
    """Share of texts in every target language and the mean share, with 95% intervals.

    There is one row per model and one dot per setting.

    Args:
        frame: the table of `lape.items.expert_units.texts.share` or `steering`.

    Raises:
        LapeError: see `expert_sizes`.
    """
    frame = frame.assign(language=frame["language"].replace(ALL, _MEAN))
    models = dict(list(frame.groupby("model", sort=False)))
    settings = list(frame["setting"].unique())
    looks = _looks(settings)
    groups = max(block["language"].nunique() for block in models.values())
    width = min(max(3.6, groups * (0.14 * len(settings) + 0.2) + 0.7), text_width())
    figure = Figure(figsize=(width, 2.2 * len(models) + 0.4), layout="constrained")
    axes = figure.subplots(len(models), 1, squeeze=False)[:, 0]
    for axis, (model, block) in zip(axes, models.items(), strict=True):
        share = _share_metric(model, block)
        block = block[block["metric"] == share]
        languages = list(block["language"].unique())
        for place, setting in enumerate(settings):
            own = block[block["setting"] == setting].set_index("language").reindex(languages)
            places = np.arange(len(languages)) + 0.8 * ((place + 0.5) / len(settings) - 0.5)
            errors = np.maximum([own["ours"] - own["low"], own["high"] - own["ours"]], 0)
            axis.errorbar(places, own["ours"], errors, linestyle="", markersize=4, elinewidth=0.8, **looks[setting])
        axis.set_title(model)
        axis.set_xticks(range(len(languages)), languages, rotation=0 if len(languages) <= LABELLED else 90)
        axis.set_xlim(-0.5, len(languages) - 0.5)
        for edge in range(1, len(languages)):
            axis.axvline(edge - 0.5, color="#E0E0E0", linewidth=0.6, zorder=0)
        axis.set_ylim(-0.03, 1.05)
        axis.yaxis.set_major_formatter(PercentFormatter(1))
        axis.set_ylabel(f"share in the language{_IDENTIFIERS[share]}")
        axis.tick_params(axis="x", length=0)
        axis.spines[["top", "right"]].set_visible(False)
    handles = [Line2D([], [], linestyle="", markersize=4, **looks[setting]) for setting in settings]
    _legend(figure, handles, list(map(_setting_name, settings)))
    return figure


def _share_metric(model: str, block: pd.DataFrame) -> str:
    """The share by the first identifier that knows the languages of a model's texts."""
    there = set(block.loc[block["ours"].notna(), "metric"])
    for metric in SHARES:
        if metric in there:
            return metric
    raise LapeError(
        f"{model}: no identifier knows the languages of its texts; leave it out or give `lape score` a fastText model"
    )


def _histograms(axes: Sequence[Axes], block: pd.DataFrame) -> None:
    """Draw the panels of one model's languages."""
    languages = block["language"].unique()
    for axis, language in zip(axes, languages, strict=False):
        rows = block[block["language"] == language]
        edges = np.append(rows["low"], rows["high"].iat[-1])
        axis.stairs(rows["count"], edges, fill=True, color="#56B4E9", baseline=0.5)
        axis.axvline(rows["chance"].iat[0], color="black", linewidth=0.9, linestyle=":")
        axis.axvline(rows["cut"].iat[0], color="black", linewidth=0.9)
        axis.set_title(f"{language}: top from {rows['cut'].iat[0]:.3f}", fontsize=8, pad=2)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yscale("log")
    axes[0].set_xlim(0, 1)
    axes[0].set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes[0].set_ylim(0.5, 2 * block["count"].max())
    axes[0].yaxis.set_minor_locator(NullLocator())


def _sizes(axis: Axes, block: pd.DataFrame) -> None:
    """Draw one measure of one model: lines for the units of both rankings, and points for the other kinds of units."""
    sizes = block.loc[block["kind"] != NONE, ["kind", "units"]]
    # A logarithmic axis has no zero: texts with no unit overwritten stand left of the smallest number.
    nothing = sizes["units"].min() / 10
    block = block.assign(units=block["units"].where(block["kind"] != NONE, nothing))
    for language, look in _line_looks(block["language"].unique()).items():
        own = block[block["language"] == language]
        line = own[own["kind"].isin([NONE, "both"])].sort_values("units")
        axis.plot(line["units"], line["ours"], marker="o", markersize=3, **look)
        if language == _MEAN:
            axis.fill_between(line["units"], line["low"], line["high"], color=look["color"], alpha=0.15, linewidth=0)
            for kind, rows in own[~own["kind"].isin([NONE, "both"])].groupby("kind", sort=False):
                axis.plot(rows["units"], rows["ours"], _MARKERS[kind], color=look["color"], markersize=5)
    axis.set_xscale("log")
    # Only the sizes on the lines are far enough apart for tick labels that do not overlap.
    lines = sizes[sizes["kind"] == "both"] if "both" in set(sizes["kind"]) else sizes
    axis.xaxis.set_major_locator(FixedLocator([nothing, *lines["units"].unique()]))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda units, _: "none" if units == nothing else f"{units:,.0f}"))
    axis.tick_params(axis="x", rotation=45)
    axis.spines[["top", "right"]].set_visible(False)


def _name_lines(row: np.ndarray, metrics: tuple[str, ...], block: pd.DataFrame) -> None:
    """Write the languages at the ends of their lines."""
    looks = _line_looks(block["language"].unique())
    colours = {language: look["color"] for language, look in looks.items()}
    for axis, metric in zip(row, metrics, strict=True):
        lines = block[(block["metric"] == metric) & block["kind"].isin([NONE, "both"]) & block["ours"].notna()]
        ends = lines.sort_values("units").groupby("language")["ours"].last().to_dict()
        named = ends if len(ends) <= LABELLED else {_MEAN: ends[_MEAN]}
        if named:  # There are no lines where all texts are empty and have no NLL.
            name_ends(axis, named, colours, bold=_MEAN, gap=min(0.07, 1 / len(named)))


def _line_looks(languages) -> dict[str, dict]:
    """The look of each language's line, from eight colours and three dashes. The mean is black and bold."""
    looks = {}
    for place, language in enumerate(name for name in languages if name != _MEAN):
        dash = DASHES[place // len(_LINES) % len(DASHES)]
        looks[language] = {"color": _LINES[place % len(_LINES)], "linestyle": dash, "linewidth": 1}
    return looks | {_MEAN: {"color": "black", "linestyle": "-", "linewidth": 1.8}}


def _looks(settings: list[str]) -> dict[str, dict]:
    """Colour and marker of each setting. None and the controls are grey and hollow; the others differ in both."""
    markers, colours = "osD^vPX*", iter(COLOURS * len(settings))
    looks = {}
    for place, setting in enumerate(settings):
        control = setting == NONE or setting.startswith((*PREFIXES, "random"))
        colour = GREY if control else next(colours)
        face = "white" if control else colour
        looks[setting] = {"marker": markers[place % len(markers)], "color": colour, "markerfacecolor": face}
    return looks


def _setting_name(setting: str) -> str:
    """A setting in words: "both-2000" is 2,000 units of both rankings."""
    kind, _, size = setting.partition("-")
    if not size:
        return "AP neurons" if setting == "ap" else method_name(setting)
    return f"{_kind_name(kind)}, {'as many as LAPE' if size == 'lape' else f'{int(size):,}'}"


def _kind_name(kind: str) -> str:
    return {"both": "top and bottom"}.get(kind, kind)


def _legend(figure: Figure, handles: list, labels: list[str]) -> None:
    figure.legend(handles, labels, loc="outside lower center", ncols=legend_columns(labels), frameon=False)
