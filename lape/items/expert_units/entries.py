"""The entries of the items on expert units, and on their comparison with LAPE."""

from collections.abc import Callable

from lape.items import sources
from lape.items.entry import Figure, Item, Named, Table
from lape.items.perplexity.entries import heatmap, matrix, specificity
from lape.items.sources import bootstrap


def _units(title: str, rows: str, sections: str, *stems: str) -> Table:
    """A table of expert units, and of the average precision of all units where `stems` has it."""
    return Table(
        title,
        tuple("expert_units" if stem == "units" else stem for stem in stems),
        sources.expert_units(*stems),
        Named(f"expert_units.units.{rows}"),
        Named(f"expert_units.sections.{sections}_sections"),
        read_beside=Named("expert_units.units.data"),
        options=sources.UNITS,
    )


def _texts(title: str, inputs: Callable[[dict], list[str]], name: str, module: str = "texts", **data) -> Table:
    """A table of texts under expert units."""
    return Table(
        title,
        ("scores",),
        inputs,
        Named(f"expert_units.{module}.{name}"),
        Named(f"expert_units.sections.{name}_sections"),
        **{
            "data": sources.with_answers,
            "read_beside": Named("answers.examples.data"),
            "options": bootstrap("scores"),
            **data,
        },
    )


def _compared(config: dict) -> bool:
    """Whether LAPE and expert units can be compared: only where both are of the same languages."""
    return bool(sources.compared_models(config))


ITEMS = (
    Item(
        "expert_precision",
        "expert_units",
        _units("Average precision of the expert units", "precision", "precision", "average_precision", "units"),
        models="expert_units",
    ),
    Item(
        "expert_held_out",
        "expert_units",
        Table(
            "Average precision of expert units on other sentences",
            ("average_precision_half",),
            sources.expert_units("average_precision-1", "average_precision-2"),
            Named("expert_units.halves.held_out"),
            Named("expert_units.halves.held_out_sections"),
            read_beside=Named("expert_units.halves.data"),
            options=sources.UNITS,
        ),
        models="expert_units",
    ),
    Item(
        "expert_overlap",
        "expert_units",
        _units("Expert units that languages share", "overlap", "overlap", "units"),
        models="expert_units",
    ),
    Item(
        "expert_layers",
        "expert_units",
        _units("Expert units by layer and kind of layer", "layers", "layer", "units"),
        Figure(
            "Expert units by layer and kind of layer",
            Named("expert_units.figures.expert_layers"),
            Named("expert_units.figures.LAYER_COLUMNS"),
        ),
        models="expert_units",
    ),
    Item(
        "expert_histogram",
        "expert_units",
        _units("Average precision of all units", "histogram", "histogram", "average_precision", "units"),
        Figure(
            "Average precision of all units",
            Named("expert_units.figures.expert_histogram"),
            Named("expert_units.figures.HISTOGRAM_COLUMNS"),
        ),
        models="expert_units",
    ),
    Item(
        "expert_share",
        "expert_units",
        _texts("Texts in the target language under expert units", sources.expert_share, "share"),
        Figure(
            "Texts in the target language under expert units",
            Named("expert_units.figures.expert_share"),
            Named("expert_units.figures.SHARE_COLUMNS"),
        ),
        models="expert_units",
    ),
    Item(
        "expert_sizes",
        "expert_units",
        _texts("Texts in the target language, by number of units", sources.expert_sizes, "sizes"),
        Figure(
            "Texts in the target language, by number of units",
            Named("expert_units.figures.expert_sizes"),
            Named("expert_units.figures.SIZE_COLUMNS"),
        ),
        models="expert_units",
    ),
    Item(
        "expert_values",
        "expert_units",
        _texts("Texts in the target language: which units, or which values", sources.expert_values, "values"),
        Figure(
            "Texts in the target language: which units, or which values",
            Named("expert_units.values_figure.expert_values"),
            Named("expert_units.values_figure.COLUMNS"),
        ),
        models="expert_units",
    ),
    Item(
        "expert_translation",
        "expert_units",
        _texts(
            "Translations under expert units",
            sources.expert_translation,
            "translation",
            "translation",
            data=sources.with_pairs,
            read_beside=Named("expert_units.translation.data"),
        ),
        models="expert_units",
        where=lambda config: bool(sources.expert_translation(config)),
    ),
    Item(
        "expert_agreement",
        "comparison",
        Table(
            "Neurons by LAPE and by average precision: overlap",
            ("neurons",),
            sources.expert_agreement,
            Named("neurons.agreement.agreement"),
            Named("neurons.agreement.agreement_sections"),
            read_beside=Named("neurons.counts.data"),
        ),
        models="expert_units",
        where=_compared,
    ),
    Item(
        "expert_deactivation",
        "comparison",
        matrix("LAPE and expert units: perplexity under deactivation", sources.expert_deactivation),
        heatmap("LAPE and expert units: change of perplexity", "deactivation_by_method"),
        models="expert_units",
        where=_compared,
    ),
    Item(
        "expert_specificity",
        "comparison",
        specificity("LAPE and expert units: specificity", sources.expert_deactivation),
        models="expert_units",
        where=_compared,
        aliases=("expert_diagonality",),
    ),
    Item(
        "expert_steering",
        "comparison",
        _texts("LAPE and expert units: steering", sources.expert_steering, "steering"),
        Figure(
            "LAPE and expert units: steering",
            Named("expert_units.figures.expert_share"),
            Named("expert_units.figures.SHARE_COLUMNS"),
        ),
        models="expert_units",
        where=_compared,
    ),
)
