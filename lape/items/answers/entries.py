"""The entries of the items on generated answers."""

from collections.abc import Callable

from lape.items import sources
from lape.items.entry import Figure, Item, Named, Table
from lape.items.sources import Options, bootstrap


def _answers(
    title: str, inputs: Callable[[dict], list[str]], rows: str, sections: str, module: str | None = None
) -> Table:
    """A table of answers' scores, with ratings where there are any; a module may have both rows and sections."""
    return Table(
        title,
        ("scores", "judgements"),
        inputs,
        Named(f"answers.{module or 'rows'}.{rows}"),
        Named(f"answers.{module or 'sections'}.{sections}_sections"),
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


ITEMS = (
    Item(
        "answers_deactivated",
        "paper",
        _answers(
            "Table 1: answers with each language's neurons deactivated",
            sources.answers_deactivated,
            "answers_deactivated",
            "answers_deactivated",
        ),
        aliases=("table1",),
    ),
    Item(
        "answers_steered",
        "paper",
        _answers("Table 4: answers, normal and steered", sources.answers_steered, "answers_steered", "answers_steered"),
        aliases=("table4",),
    ),
    Item(
        "example_deactivated",
        "paper",
        _example(
            "Table 2: one question, normal and deactivated",
            sources.example_deactivated,
            "example_deactivated",
            sources.QUESTION,
        ),
        aliases=("table2",),
    ),
    Item(
        "example_cross_lingual",
        "paper",
        _example(
            "Table 5: one question, answered in another language",
            sources.example_cross_lingual,
            "example_cross_lingual",
            sources.QUESTION_AND_ANSWER,
        ),
        aliases=("table5",),
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
        "steering_methods",
        "paper",
        _answers(
            "Steering methods: neurons, directions and the prompt",
            sources.steering_methods,
            "steering_methods",
            "steering_methods",
            module="methods",
        ),
        Figure(
            "Steering methods: neurons, directions and the prompt",
            Named("answers.methods_figure.steering_methods"),
            Named("answers.methods_figure.COLUMNS"),
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
)
