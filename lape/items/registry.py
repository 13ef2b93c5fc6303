"""Every table and figure of the papers: one entry per item.

A new item is an entry here and a caption, `rules/captions/<name>.rst`. The workflow makes its rules from the entry, and
`lape table` and `lape figure` make its files.

Functions are named by their paths and imported when they are called. So making one item does not import the code of
the others.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lape.items import sources
from lape.items.sources import NO_OPTIONS, Options, bootstrap
from lape.paper import pretraining_languages


@dataclass(frozen=True)
class Named:
    """A function or a constant, named by its path below `lape.items`, such as "perplexity.rows.changes"."""

    path: str

    @property
    def module(self) -> str:
        return f"lape.items.{self.path.rpartition('.')[0]}"

    def found(self):
        """The function or the constant. This call imports its module."""
        return getattr(importlib.import_module(self.module), self.path.rpartition(".")[2])

    def __call__(self, *arguments, **options):
        return self.found()(*arguments, **options)


@dataclass(frozen=True)
class Table:
    """A table, or the data of a figure.

    Attributes:
        title: what the report calls it.
        artifacts: the kinds of headers that the table is made from.
        inputs: from the configuration to the paths of the headers.
        rows: reads the headers, in the order given, and returns the tidy frame. It takes the options by name.
        sections: lays a tidy frame out for people.
        read_beside: from the path of one header, which must exist, to the data files that are read beside it.
        data: from the configuration and the paths of all headers, which need not exist yet, to the data files.
        options: the options of `lape table` that shape the rows. They are recorded in the table's header.
    """

    title: str
    artifacts: tuple[str, ...]
    inputs: Callable[[dict], list[str]]
    rows: Named
    sections: Named
    read_beside: Callable[[str], list[Path]] = lambda header: []
    data: Callable[[dict, Sequence[str]], list[str]] = sources.beside
    options: Options = NO_OPTIONS

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that make it."""
        return self.rows.module, self.sections.module


@dataclass(frozen=True)
class Figure:
    """A figure, drawn from a table and nothing else.

    Attributes:
        title: what the report calls the figure.
        draw: from the tidy frame to the drawing.
        needs: the columns of the table that the drawing needs.
        table: the item from whose table the figure is drawn; "" for the figure's own item.
    """

    title: str
    draw: Named
    needs: Named
    table: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table that the drawing needs."""
        return self.needs.found()

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that make it."""
        return self.draw.module, self.needs.module


@dataclass(frozen=True)
class Item:
    """An item of the papers.

    Attributes:
        name: the name of the item's own target, its files and its caption.
        target: the target that makes the item: "all", "paper", "expert_units" or "comparison". `paper` makes all items.
        table: the item's table, or the data of its figure; None where the figure is drawn from another item's table.
        figure: the item's figure; None where it has none.
        models: the entry of `experiments.models` that names the item's models; "" for the entry of the item's name.
        where: from the configuration to whether the target makes the item.
    """

    name: str
    target: str
    table: Table | None = None
    figure: Figure | None = None
    models: str = ""
    where: Callable[[dict], bool] = lambda config: True


_ANSWERS = ("scores", "judgements")


def _matrix(title: str, inputs: Callable[[dict], list[str]], rows: str = "changes", sections: str = "change") -> Table:
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


def _answers(title: str, inputs: Callable[[dict], list[str]], rows: str, sections: str) -> Table:
    """A table of answers' scores, with ratings where there are any."""
    return Table(
        title,
        _ANSWERS,
        inputs,
        Named(f"answers.rows.{rows}"),
        Named(f"answers.sections.{sections}_sections"),
        read_beside=Named("answers.inputs.data"),
        options=bootstrap("scores"),
    )


def _example(title: str, inputs: Callable[[dict], list[str]], name: str, options: Options) -> Table:
    """A table of one question and its answers."""
    return Table(
        title,
        ("scores",),
        inputs,
        Named(f"answers.examples.{name}"),
        Named(f"answers.examples.{name}_sections"),
        data=sources.with_answers,
        read_beside=Named("answers.examples.data"),
        options=options,
    )


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


def _heatmap(title: str, draw: str, columns: str = "COLUMNS", table: str = "") -> Figure:
    return Figure(title, Named(f"perplexity.heatmaps.{draw}"), Named(f"perplexity.heatmaps.{columns}"), table)


def _compared(config: dict) -> bool:
    """Whether LAPE and expert units can be compared: only where both are of the same languages."""
    return bool(sources.compared_models(config))


def _listed_by_the_paper(config: dict) -> bool:
    return not set(pretraining_languages()).isdisjoint(config["languages"])


ITEMS = (
    Item(
        "corpora",
        "all",
        Table(
            "Text of each language",
            ("corpus",),
            sources.corpora,
            Named("corpora.corpora"),
            Named("corpora.corpora_sections"),
            data=sources.nothing,
        ),
    ),
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
        "deactivation",
        "all",
        _matrix(
            "LAPE and its control: perplexity under deactivation",
            sources.matrices("deactivation", "lape", "matched_lape"),
        ),
        _heatmap("LAPE and its control: change of perplexity", "deactivation"),
    ),
    Item(
        "deactivation_log_ratio",
        "all",
        figure=_heatmap(
            "LAPE and its control: log ratio of perplexities", "deactivation_log_ratio", table="deactivation"
        ),
        models="deactivation",
    ),
    Item(
        "table3",
        "all",
        _neurons("Table 3: neurons per language", "table3", "counts.counts", "counts.count_sections"),
    ),
    Item(
        "tables6_10",
        "all",
        _neurons(
            "Tables 6-10: neurons per layer and language", "tables6_10", "counts.layer_counts", "counts.layer_sections"
        ),
    ),
    Item(
        "figure5",
        "all",
        figure=Figure(
            "Figure 5: neurons per layer and language",
            Named("neurons.layers_figure.figure5"),
            Named("neurons.layers_figure.COLUMNS"),
            table="tables6_10",
        ),
        models="tables6_10",
    ),
    Item(
        "figure2",
        "paper",
        _matrix("Data of Figure 2: perplexity under deactivation, all methods", sources.every_method),
        _heatmap("Figure 2: change of perplexity, all methods", "figure2"),
    ),
    Item(
        "figure3",
        "paper",
        _matrix(
            "Data of Figure 3: perplexity under deactivation, all models",
            sources.matrices("figure3", "lape", "matched_lape"),
            sections="bits",
        ),
        _heatmap("Figure 3: change of perplexity and of bits per byte, all models", "figure3", "FIGURE3_COLUMNS"),
    ),
    Item(
        "figure4",
        "paper",
        _matrix(
            "Data of Figure 4: perplexity by share of neurons selected",
            sources.every_ratio,
            rows="sweep",
            sections="sweep",
        ),
        Figure(
            "Figure 4: change of perplexity by share of neurons selected",
            Named("perplexity.ratio.figure4"),
            Named("perplexity.ratio.COLUMNS"),
        ),
    ),
    Item(
        "figure8",
        "paper",
        _matrix(
            "Data of Figure 8: perplexity under deactivation, random neurons",
            sources.matrices("figure8", "random", "matched_lape"),
        ),
        _heatmap("Figure 8: change of perplexity, random neurons", "figure8"),
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
            Named("neurons.layers_figure.figure5"),
            Named("neurons.layers_figure.COLUMNS"),
        ),
        models="agreement",
    ),
    Item(
        "diagonality",
        "paper",
        _matrix("Diagonality of every matrix", sources.every_matrix, rows="diagonality", sections="diagonality"),
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
        "table7",
        "paper",
        _neurons(
            "Table 7: pre-training shares beside neurons", "table7", "pretraining.table7", "pretraining.table7_sections"
        ),
        where=_listed_by_the_paper,
    ),
    Item(
        "left_out",
        "paper",
        _stability("Stability: one language left out", "left_out", "left_out", sources.left_out),
        models="stability",
        where=lambda config: bool(sources.left_out(config)),
    ),
    Item(
        "table1",
        "paper",
        _answers("Table 1: answers with each language's neurons deactivated", sources.table1, "table1", "table1"),
    ),
    Item(
        "table2",
        "paper",
        _example("Table 2: one question, normal and deactivated", sources.table2, "table2", sources.QUESTION),
    ),
    Item(
        "table4",
        "paper",
        _answers("Table 4: answers, normal and steered", sources.table4, "table4", "table4"),
    ),
    Item(
        "table5",
        "paper",
        _example(
            "Table 5: one question, answered in another language",
            sources.table5,
            "table5",
            sources.QUESTION_AND_ANSWER,
        ),
    ),
    Item(
        "cross_lingual",
        "paper",
        _answers(
            "Cross-lingual steering: every pair of languages", sources.cross_lingual, "cross_lingual", "cross_lingual"
        ),
        Figure(
            "Cross-lingual steering: every pair of languages",
            Named("answers.figures.cross_lingual"),
            Named("answers.figures.CROSS_COLUMNS"),
        ),
    ),
    Item(
        "dose_response",
        "paper",
        _answers(
            "Data of the dose-response: language accuracy against fluency",
            sources.dose_response,
            "dose_response",
            "dose",
        ),
        Figure(
            "Dose-response: language accuracy against fluency",
            Named("answers.figures.dose_response"),
            Named("answers.figures.DOSE_COLUMNS"),
        ),
    ),
    Item(
        "figure6",
        "paper",
        Table(
            "Data of Figure 6: similarity of aligned sentences by layer",
            ("embeddings", "neurons"),
            sources.figure6,
            Named("structure.rows.figure6"),
            Named("structure.rows.figure6_sections"),
            read_beside=Named("structure.rows.data"),
        ),
        Figure(
            "Figure 6: similarity of aligned sentences, and neurons, by layer",
            Named("structure.figures.figure6"),
            Named("structure.figures.COLUMNS"),
        ),
    ),
    Item(
        "figure7",
        "paper",
        Table(
            "Data of Figure 7: dominance by layer",
            ("embeddings",),
            sources.figure7,
            Named("structure.rows.figure7"),
            Named("structure.rows.figure7_sections"),
            read_beside=Named("structure.rows.data"),
        ),
        Figure(
            "Figure 7: dominance by layer and target language",
            Named("structure.figures.figure7"),
            Named("structure.figures.FIGURE7_COLUMNS"),
        ),
    ),
    Item(
        "expert_precision",
        "expert_units",
        _units("Average precision of the expert units", "precision", "precision", "average_precision", "units"),
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
        _matrix("LAPE and expert units: perplexity under deactivation", sources.expert_deactivation),
        _heatmap("LAPE and expert units: change of perplexity", "figure2"),
        models="expert_units",
        where=_compared,
    ),
    Item(
        "expert_diagonality",
        "comparison",
        _matrix(
            "LAPE and expert units: diagonality",
            sources.expert_deactivation,
            rows="diagonality",
            sections="diagonality",
        ),
        models="expert_units",
        where=_compared,
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
TABLES = {item.name: item.table for item in ITEMS if item.table}
FIGURES = {item.name: item.figure for item in ITEMS if item.figure}
