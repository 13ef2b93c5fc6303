"""The entries of the items on perplexity under deactivation."""

from collections.abc import Callable

from lape.items import sources
from lape.items.entry import Figure, Item, Named, Table
from lape.items.sources import bootstrap


def matrix(title: str, inputs: Callable[[dict], list[str]], rows: str = "changes", sections: str = "change") -> Table:
    """A table of perplexity under deactivation."""
    return Table(
        title,
        ("perplexity",),
        inputs,
        Named(f"perplexity.rows.{rows}"),
        Named(f"perplexity.sections.{sections}_sections"),
        read_beside=Named("perplexity.rows.data"),
        options=bootstrap("perplexity"),
    )


def heatmap(title: str, draw: str, columns: str = "COLUMNS", table: str = "") -> Figure:
    """Panels of perplexity: a row per language that is deactivated, a column per language that is evaluated."""
    return Figure(title, Named(f"perplexity.heatmaps.{draw}"), Named(f"perplexity.heatmaps.{columns}"), table)


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
            sources.matrices("deactivation_matrix", "lape", "matched_lape"),
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
            sources.matrices("deactivation_by_model", "lape", "matched_lape"),
            sections="bits",
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
            rows="sweep",
            sections="sweep",
        ),
        Figure(
            "Figure 4: change of perplexity by share of neurons selected",
            Named("perplexity.ratio.deactivation_by_ratio"),
            Named("perplexity.ratio.COLUMNS"),
        ),
        aliases=("figure4",),
    ),
    Item(
        "deactivation_random",
        "paper",
        matrix(
            "Data of Figure 8: perplexity under deactivation, random neurons",
            sources.matrices("deactivation_random", "random", "matched_lape"),
        ),
        heatmap("Figure 8: change of perplexity, random neurons", "deactivation_random"),
        aliases=("figure8",),
    ),
    Item(
        "diagonality",
        "paper",
        matrix("Diagonality of every matrix", sources.every_matrix, rows="diagonality", sections="diagonality"),
    ),
)
