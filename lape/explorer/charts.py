"""The page's charts as Vega-Lite specifications. Pointing at a mark shows its numbers."""

import json
from collections.abc import Sequence

import altair as alt
import pandas as pd

from lape.items.perplexity.inputs import bare, control_in

# Told apart by people who see colours differently, on light and on dark pages.
_SCHEME = "viridis"
# Pixels: the side of a matrix, and of the smallest and the largest cell.
_SIDE, _SMALL, _LARGE = 330, 26, 48
# Column of a matrix -> what the list of measures calls it.
_MEASURES = {
    "nll_change": "change of NLL (nats per token)",
    "ppl_change": "change of PPL",
    "bits_change": "change of bits per byte",
}


def matrix(frame: pd.DataFrame, order: Sequence[str], resamples: int) -> dict:
    """Perplexity under deactivation: the matrix of a method beside that of its control.

    Args:
        frame: cells of `lape.items.perplexity.rows.changes`.
        order: the languages, in order.
        resamples: the number of draws of the bootstrap.
    """
    known = [name for name in _MEASURES if name in frame]
    bounds = [f"{name}_{bound}" for name in known for bound in ("low", "high")]
    columns = ["model", "deactivated", "evaluated", "ppl", "baseline_ppl", "chunks", "p_holm"]
    columns = [name for name in (*columns, *known, *bounds) if name in frame]
    names = list(frame["method"].unique())
    methods = [name for name in names if name == bare(name)]
    controls = {control_in(name, names) for name in methods}
    frame = frame[frame["method"].isin([*methods, *controls])]
    frame = frame.assign(of=frame["method"].map(bare), control=~frame["method"].isin(methods))
    model = _choice("model", "model", list(frame["model"].unique()))
    method = _choice("method", "method", methods)
    measure = _choice("measure", "measure", known, [_MEASURES[name] for name in known])
    drawn = f"{resamples:,} draws" if resamples else "bootstrap"
    ends = {
        "x": alt.X("evaluated:N", sort=list(order), title="evaluated language", axis=alt.Axis(labelAngle=0)),
        "y": alt.Y("deactivated:N", sort=list(order), title="deactivated language"),
    }
    tooltip = [
        alt.Tooltip("deactivated:N"),
        alt.Tooltip("evaluated:N"),
        alt.Tooltip("value:Q", format=".3f", title="change"),
        alt.Tooltip("interval:N", title=f"95% interval ({drawn})"),
        alt.Tooltip("p:N", title="p against the control (Holm)"),
        alt.Tooltip("ppl:Q", format=",.4~g", title="PPL"),
        alt.Tooltip("baseline_ppl:Q", format=",.4~g", title="PPL of the whole model"),
        alt.Tooltip("chunks:Q", title="chunks of text"),
    ]
    scale = alt.Scale(type="symlog", scheme=_SCHEME)
    cell = min(max(_SIDE // max(len(order), 1), _SMALL), _LARGE)
    colour = alt.Color("value:Q", title="change", scale=scale, legend=alt.Legend(gradientLength=160))
    on_colour = alt.condition("luminance(scale('color', datum.value)) > 0.35", alt.value("#000"), alt.value("#fff"))

    def panel(control: str, title: str) -> alt.LayerChart:
        base = (
            alt.Chart()
            .transform_filter(f"datum.model == model && datum.of == method && datum.control == {control}")
            .transform_calculate(
                value="datum[measure]",
                label="format(datum[measure], abs(datum[measure]) < 9.95 ? '.2f' : '.3~s')",
                interval="format(datum[measure + '_low'], '.3g') + ' to ' + format(datum[measure + '_high'], '.3g')",
                p="datum.p_holm == null ? 'no control' : format(datum.p_holm, '.2g')",
            )
        )
        cells = base.mark_rect().encode(**ends, color=colour, tooltip=tooltip)
        numbers = base.mark_text(fontSize=11).encode(**ends, text="label:N", color=on_colour, tooltip=tooltip)
        return alt.layer(cells, numbers).properties(
            width=cell * len(order), height=cell * len(order), title=alt.Title(alt.expr(title))
        )

    panels = [panel("false", "method")]
    if frame["control"].any():
        panels.append(panel("true", "'control of ' + method"))
    chart = alt.hconcat(*panels, data=_values(frame[[*columns, "of", "control"]])).resolve_scale(color="shared")
    return _specification(
        chart.add_params(model, method, measure), "Change of perplexity by deactivated and by evaluated language"
    )


def layers(frame: pd.DataFrame, order: Sequence[str]) -> dict:
    """The number of neurons by layer and language.

    Args:
        frame: the table of the item neurons_per_layer, or of layers_by_method.
        order: the languages, in order.
    """
    columns = ["model", "method", "language", "layer", "ours"]
    base = alt.Chart(_values(frame[columns])).transform_filter("datum.model == model && datum.method == method")
    chart = (
        base.mark_rect(cursor="pointer")
        .encode(
            x=alt.X("layer:O", title="layer", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            y=alt.Y("language:N", sort=list(order), title=None),
            color=alt.Color("ours:Q", title="neurons", scale=alt.Scale(type="sqrt", scheme=_SCHEME)),
            tooltip=["language:N", "layer:O", alt.Tooltip("ours:Q", title="neurons")],
        )
        .add_params(*_model_and_method(frame))
        .properties(width="container", height=24 * len(order))
    )
    return _specification(chart, "Number of neurons by layer and language")


def counts(frame: pd.DataFrame, order: Sequence[str]) -> dict:
    """The number of neurons per language, with its interval where the run has the stability of the neurons.

    Args:
        frame: columns model, method, language, neurons, low and high.
        order: the languages, in order.
    """
    base = (
        alt.Chart(_values(frame))
        .transform_filter("datum.model == model && datum.method == method")
        .encode(y=alt.Y("language:N", sort=list(order), title=None))
    )
    tooltip = ["language:N", "neurons:Q"]
    intervals = frame["low"].notna().any()
    if intervals:
        tooltip += [alt.Tooltip("low:Q", title="95% interval from"), alt.Tooltip("high:Q", title="to")]
    chart = base.mark_bar(color="#0072b2", cursor="pointer").encode(
        x=alt.X("neurons:Q", title="neurons"), tooltip=tooltip
    )
    if intervals:
        # A number without an interval has a line of no length.
        spans = base.transform_calculate(
            first="datum.low == null ? datum.neurons : datum.low",
            last="datum.high == null ? datum.neurons : datum.high",
        ).mark_rule(strokeWidth=2, color="#e69f00")
        chart = alt.layer(chart, spans.encode(x="first:Q", x2="last:Q", tooltip=tooltip))
    chart = chart.add_params(*_model_and_method(frame))
    return _specification(chart.properties(width="container", height=24 * len(order)), "Number of neurons per language")


def upset(views: Sequence[dict]) -> dict:
    """An UpSet plot of the intersections of `lape.explorer.sets.views`; a mark names its intersection."""
    rows = [
        {"view": view["title"], "place": place, "sets": " & ".join(each["sets"]), "neurons": each["neurons"]}
        for view in views
        for place, each in enumerate(view["intersections"])
    ]
    dots = [
        {"view": view["title"], "place": place, "set": name, "in": name in each["sets"], "neurons": each["neurons"]}
        | {"sets": " & ".join(each["sets"]), "size": f"{name} ({view['sets'][name]})", "number": number}
        for view in views
        for place, each in enumerate(view["intersections"])
        for number, name in enumerate(view["sets"])
    ]
    view = _choice("view", "sets", [each["title"] for each in views])
    x = alt.X("place:O", axis=None, scale=alt.Scale(paddingInner=0.35))
    tooltip = ["sets:N", "neurons:Q"]
    bars = alt.Chart(_values(pd.DataFrame(rows))).transform_filter("datum.view == view")
    bars = alt.layer(
        bars.mark_bar(color="#0072b2", cursor="pointer").encode(x=x, y=alt.Y("neurons:Q"), tooltip=tooltip),
        bars.mark_text(dy=-6, fontSize=10).encode(x=x, y="neurons:Q", text="neurons:Q"),
    ).properties(height=150, width=alt.Step(26))
    grid = alt.Chart(_values(pd.DataFrame(dots))).transform_filter("datum.view == view")
    y = alt.Y("size:N", title=None, sort=alt.SortField("number"), axis=alt.Axis(domain=False, ticks=False))
    grid = alt.layer(
        grid.mark_circle(size=110, color="#999", opacity=0.3).encode(x=x, y=y, tooltip=tooltip),
        grid.transform_filter("datum['in']")
        .mark_circle(size=110, opacity=1, color="#0072b2", cursor="pointer")
        .encode(x=x, y=y, tooltip=tooltip),
        grid.transform_filter("datum['in']")
        .mark_line(strokeWidth=2, color="#0072b2")
        .encode(x=x, y=y, detail="place:O", order="number:Q"),
    ).properties(height=alt.Step(22), width=alt.Step(26))
    return _specification(
        alt.vconcat(bars, grid, spacing=4).resolve_scale(x="shared").add_params(view),
        "Number of neurons that sets share",
    )


def histogram() -> dict:
    """How strongly one neuron is active, by language. The page fills in the data, named histogram."""
    chart = (
        alt.Chart(alt.NamedData("histogram"))
        .mark_bar(color="#0072b2")
        .encode(
            x=alt.X("low:Q", title="activation", bin="binned", axis=alt.Axis(tickCount=5)),
            x2="high:Q",
            y=alt.Y(
                "share:Q",
                title=None,
                scale=alt.Scale(type="symlog", constant=0.001),
                axis=alt.Axis(format="~%", values=[0, 0.01, 0.1, 1]),
            ),
            tooltip=[
                "language:N",
                alt.Tooltip("low:Q", format=".3g", title="activation from"),
                alt.Tooltip("high:Q", format=".3g", title="to"),
                alt.Tooltip("share:Q", format=".3%", title="of the tokens"),
            ],
        )
        .properties(width=165, height=70)
        .facet(alt.Facet("language:N", title=None, sort=alt.EncodingSortField("order", op="min")), columns=4)
    )
    return _specification(chart, "Share of tokens by activation and language")


def _model_and_method(frame: pd.DataFrame) -> list[alt.Parameter]:
    return [_choice(name, name, list(frame[name].unique())) for name in ("model", "method")]


def _choice(name: str, label: str, options: list[str], labels: list[str] | None = None) -> alt.Parameter:
    """A parameter that a list sets; no list is shown where there is one option."""
    bind = alt.binding_select(options=options, labels=labels or options, name=f"{label} ")
    return alt.param(name=name, value=options[0], **({"bind": bind} if len(options) > 1 else {}))


def _values(frame: pd.DataFrame) -> alt.InlineData:
    """The rows inside the specification; NaN as null."""
    return alt.InlineData(values=json.loads(frame.to_json(orient="records", force_ascii=True)))


def _specification(chart: alt.TopLevelMixin, description: str) -> dict:
    return {**chart.to_dict(), "description": description}
