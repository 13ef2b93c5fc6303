"""The entries of the items on the selected neurons."""

from collections.abc import Callable

from lape.items import evidence, sources
from lape.items.entry import Figure, Item, Named, Table
from lape.paper import pretraining_languages


def _neurons(title: str, item: str, rows: str, sections: str, *methods: str) -> Table:
    """A table of the neurons that some methods select; without a method, those of LAPE."""
    inputs = sources.neurons(item, *(methods or ("lape",)))
    return Table(
        title,
        ("neurons",),
        inputs,
        Named(f"neurons.{rows}"),
        Named(f"neurons.{sections}"),
        read_beside=Named("neurons.counts.data"),
    )


def _controls(title: str, inputs: Callable[[dict], list[str]]) -> Table:
    """A table of how alike neurons and their controls are."""
    return Table(
        title,
        ("neurons", "statistics"),
        inputs,
        Named("neurons.controls.controls"),
        Named("neurons.controls.control_sections"),
        read_beside=Named("neurons.controls.data"),
    )


def _stability(title: str, rows: str, sections: str, inputs=sources.stability) -> Table:
    """A table of how stable the neurons are."""
    return Table(
        title,
        ("stability",),
        inputs,
        Named(f"neurons.stability.{rows}"),
        Named(f"neurons.stability.{sections}_sections"),
        read_beside=Named("neurons.stability.data"),
    )


def _listed_by_the_paper(config: dict) -> bool:
    return not set(pretraining_languages()).isdisjoint(config["languages"])


ITEMS = (
    Item(
        "neurons_per_language",
        "all",
        _neurons("Table 3: neurons per language", "neurons_per_language", "counts.counts", "counts.count_sections"),
        aliases=("table3",),
    ),
    Item(
        "controls",
        "all",
        _controls("LAPE and its controls: how active the neurons are", evidence.controls),
        models="deactivation_matrix",
    ),
    Item(
        "controls_by_method",
        "paper",
        _controls("Every method and its controls: how active the neurons are", evidence.controls_by_method),
        models="deactivation_by_method",
        where=lambda config: config["experiments"]["deactivation_by_method"]["methods"] != ["pv"],
    ),
    Item(
        "selection_choices",
        "paper",
        Table(
            "How much the selection depends on its settings",
            ("neurons", "statistics"),
            evidence.selection_choices,
            Named("neurons.choices.choices"),
            Named("neurons.choices.choice_sections"),
            read_beside=Named("neurons.controls.data"),
        ),
        models="deactivation_by_method",
        where=lambda config: (
            not {"lape", "lave"}.isdisjoint(config["experiments"]["deactivation_by_method"]["methods"])
        ),
    ),
    Item(
        "neurons_per_layer",
        "all",
        _neurons(
            "Tables 6-10: neurons per layer and language",
            "neurons_per_layer",
            "counts.layer_counts",
            "counts.layer_sections",
        ),
        Figure(
            "Figure 5: neurons per layer and language",
            Named("neurons.layers_figure.neurons_per_layer"),
            Named("neurons.layers_figure.COLUMNS"),
        ),
        aliases=(
            "tables6_10",
            "figure5",
        ),
    ),
    Item(
        "layers_by_method",
        "paper",
        _neurons(
            "Data of Figure 5 for every method: neurons per layer and language",
            "agreement",
            "counts.layer_counts",
            "counts.layer_sections",
            *("lape", "lap", "lave", "random"),
        ),
        Figure(
            "Figure 5 for every method: neurons per layer and language",
            Named("neurons.layers_figure.neurons_per_layer"),
            Named("neurons.layers_figure.COLUMNS"),
        ),
        models="agreement",
    ),
    Item(
        "sharing",
        "paper",
        _neurons(
            "Data of shared neurons by pairs of languages", "sharing", "sharing.sharing", "sharing.sharing_sections"
        ),
        Figure(
            "Shared neurons by pairs of languages",
            Named("neurons.sharing_figures.sharing"),
            Named("neurons.sharing_figures.COLUMNS"),
        ),
    ),
    Item(
        "sharing_histogram",
        "paper",
        _neurons(
            "Data of shared neurons by the number of languages",
            "sharing",
            "sharing.sharing_histogram",
            "sharing.histogram_sections",
        ),
        Figure(
            "Shared neurons by the number of languages",
            Named("neurons.sharing_figures.sharing_histogram"),
            Named("neurons.sharing_figures.HISTOGRAM_COLUMNS"),
        ),
        models="sharing",
    ),
    Item(
        "pretraining_shares",
        "paper",
        _neurons(
            "Table 7: pre-training shares beside neurons",
            "pretraining_shares",
            "pretraining.pretraining_shares",
            "pretraining.pretraining_shares_sections",
        ),
        where=_listed_by_the_paper,
        aliases=("table7",),
    ),
    Item(
        "agreement",
        "paper",
        _neurons(
            "Agreement between methods",
            "agreement",
            "agreement.agreement",
            "agreement.agreement_sections",
            *("lape", "lap", "lave", "random"),
        ),
        Figure(
            "Agreement between methods",
            Named("neurons.agreement_figure.agreement"),
            Named("neurons.agreement_figure.COLUMNS"),
        ),
    ),
    Item(
        "stability",
        "paper",
        _stability("Stability: how sure the neurons are", "stability", "stability"),
        Figure(
            "Stability: how sure the neurons are",
            Named("neurons.stability_figures.stability"),
            Named("neurons.stability_figures.COLUMNS"),
        ),
    ),
    Item(
        "stability_curve",
        "paper",
        _stability("Data of stability over tokens", "stability_curve", "curve"),
        Figure(
            "Stability over tokens",
            Named("neurons.stability_figures.stability_curve"),
            Named("neurons.stability_figures.CURVE_COLUMNS"),
        ),
        models="stability",
    ),
    Item(
        "left_out",
        "paper",
        _stability("Stability: one language left out", "left_out", "left_out", sources.left_out),
        models="stability",
        where=lambda config: bool(sources.left_out(config)),
    ),
)
