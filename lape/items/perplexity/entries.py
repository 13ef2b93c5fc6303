"""The entries of the items on perplexity under deactivation."""

from collections.abc import Callable

from lape.config import item_models
from lape.items import evidence, sources
from lape.items.entry import Figure, Item, Named, Table
from lape.items.sources import NO_OPTIONS, Options, bootstrap
from lape.items.variants import changes


def matrix(
    title: str,
    inputs: Callable[[dict], list[str]],
    rows: str = "rows.changes",
    sections: str = "sections.change_sections",
    kinds: tuple[str, ...] = ("perplexity",),
    options: Options | None = None,
) -> Table:
    """A table of perplexity under deactivation."""
    return Table(
        title,
        kinds,
        inputs,
        Named(f"perplexity.{rows}"),
        Named(f"perplexity.{sections}"),
        read_beside=Named("perplexity.rows.data"),
        options=bootstrap("perplexity") if options is None else options,
    )


def specificity(title: str, inputs: Callable[[dict], list[str]]) -> Table:
    """A table of the scores of matrices."""
    return matrix(title, inputs, "scores.scores", "scores.score_sections", options=sources.RELATED)


def draws(title: str, inputs: Callable[[dict], list[str]]) -> Table:
    """A table of methods beside draws of their controls."""
    kinds = ("perplexity", "draws")
    return matrix(title, inputs, "draws.control_draws", "draws.draw_sections", kinds, NO_OPTIONS)


def heatmap(title: str, draw: str, columns: str = "COLUMNS", table: str = "") -> Figure:
    """Panels of perplexity: a row per language that is deactivated, a column per language that is evaluated."""
    return Figure(title, Named(f"perplexity.heatmaps.{draw}"), Named(f"perplexity.heatmaps.{columns}"), table)


def _with_curve(config: dict) -> bool:
    """Whether a model of Figure 2 has LAPE's curve over ratios, too."""
    curve, methods = (item_models(config, f"deactivation_by_{each}") for each in ("ratio", "method"))
    return not set(curve).isdisjoint(methods)


# The tables that `findings` puts into sentences.
FOUND = ("deactivation_matrix", "specificity", "control_draws")
ITEMS = (
    Item(
        "baseline",
        "all",
        Table(
            "Perplexity without deactivation",
            ("perplexity",),
            sources.matrices("baseline"),
            Named("perplexity.rows.baseline"),
            Named("perplexity.sections.baseline_sections"),
            data=sources.nothing,
        ),
    ),
    Item(
        "deactivation_matrix",
        "all",
        matrix(
            "LAPE and its control: perplexity under deactivation",
            sources.matrices("deactivation_matrix", "lape", "active_lape"),
        ),
        heatmap("LAPE and its control: change of perplexity", "deactivation_matrix"),
        aliases=("deactivation",),
    ),
    Item(
        "deactivation_log_ratio",
        "all",
        figure=heatmap(
            "LAPE and its control: log ratio of perplexities", "deactivation_log_ratio", table="deactivation_matrix"
        ),
        models="deactivation_matrix",
    ),
    Item(
        "specificity",
        "all",
        specificity(
            "LAPE and its control: specificity", sources.matrices("deactivation_matrix", "lape", "active_lape")
        ),
        models="deactivation_matrix",
    ),
    Item(
        "control_draws",
        "all",
        draws("LAPE and draws of its control", evidence.control_draws),
        Figure(
            "LAPE and draws of its control",
            Named("perplexity.draws_figure.control_draws"),
            Named("perplexity.draws_figure.COLUMNS"),
        ),
        models="deactivation_matrix",
    ),
    Item(
        "deactivation_by_method",
        "paper",
        matrix("Data of Figure 2: perplexity under deactivation, all methods", sources.every_method),
        heatmap("Figure 2: change of perplexity, all methods", "deactivation_by_method"),
        aliases=("figure2",),
    ),
    Item(
        "deactivation_by_model",
        "paper",
        matrix(
            "Data of Figure 3: perplexity under deactivation, all models",
            sources.matrices("deactivation_by_model", "lape", "active_lape"),
            sections="sections.bits_sections",
        ),
        heatmap(
            "Figure 3: change of perplexity and of bits per byte, all models",
            "deactivation_by_model",
            "BY_MODEL_COLUMNS",
        ),
        aliases=("figure3",),
    ),
    Item(
        "deactivation_by_ratio",
        "paper",
        matrix(
            "Data of Figure 4: perplexity by share of neurons selected",
            sources.every_ratio,
            rows="rows.sweep",
            sections="sections.sweep_sections",
        ),
        Figure(
            "Figure 4: change of perplexity by share of neurons selected",
            Named("perplexity.ratio.deactivation_by_ratio"),
            Named("perplexity.ratio.COLUMNS"),
        ),
        aliases=("figure4",),
    ),
    Item(
        "equal_effect",
        "paper",
        matrix(
            "Methods at equal effect: the others' rise against the deactivated language's own",
            sources.equal_effect,
            "equal_effect.equal_effect",
            "equal_effect.equal_effect_sections",
        ),
        Figure(
            "Methods at equal effect",
            Named("perplexity.equal_effect_figure.equal_effect"),
            Named("perplexity.equal_effect_figure.COLUMNS"),
        ),
        models="deactivation_by_ratio",
        where=_with_curve,
    ),
    Item(
        "pv_learning_curve",
        "paper",
        matrix(
            "PV by the number of training steps",
            evidence.pv_learning_curve,
            "learning_curve.learning_curve",
            "learning_curve.learning_curve_sections",
            options=NO_OPTIONS,
        ),
        Figure(
            "PV by the number of training steps",
            Named("perplexity.learning_curve_figure.pv_learning_curve"),
            Named("perplexity.learning_curve_figure.COLUMNS"),
        ),
        models="deactivation_by_method",
        where=evidence.has_pv,
    ),
    Item(
        "deactivation_random",
        "paper",
        matrix(
            "Data of Figure 8: perplexity under deactivation, random neurons",
            sources.matrices("deactivation_random", "random", "matched_lape", "active_lape"),
        ),
        heatmap("Figure 8: change of perplexity, random neurons", "deactivation_random"),
        aliases=("figure8",),
    ),
    Item(
        "specificity_by_method",
        "paper",
        specificity("Specificity of every matrix", sources.every_matrix),
        models="deactivation_by_method",
        aliases=("diagonality",),
    ),
    Item(
        "robustness",
        "paper",
        matrix(
            "LAPE with one thing changed: text, seed, settings, ablation",
            evidence.robustness,
            "robustness.robustness",
            "robustness.robustness_sections",
            ("neurons", "perplexity"),
        ),
        Figure(
            "LAPE with one thing changed",
            Named("perplexity.robustness_figure.robustness"),
            Named("perplexity.robustness_figure.COLUMNS"),
        ),
        where=lambda config: bool(changes(config)),
    ),
    Item(
        "control_draws_by_method",
        "paper",
        draws("Every method and many draws of its control", evidence.control_draws_by_method),
        Figure(
            "Every method and many draws of its control",
            Named("perplexity.draws_figure.control_draws"),
            Named("perplexity.draws_figure.COLUMNS"),
        ),
        models="deactivation_by_method",
    ),
)
