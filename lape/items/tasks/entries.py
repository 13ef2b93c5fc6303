"""The entries of the items on tasks."""

from lape.items import sources
from lape.items.entry import Figure, Item, Named, Table
from lape.items.sources import bootstrap

ITEMS = (
    Item(
        "downstream",
        "paper",
        Table(
            "Accuracy on tasks with languages off and on",
            ("accuracy", "perplexity"),
            sources.downstream,
            Named("tasks.rows.downstream"),
            Named("tasks.sections.downstream_sections"),
            read_beside=Named("tasks.inputs.data"),
            options=bootstrap("scores"),
        ),
        Figure(
            "Accuracy on tasks with languages off and on: change in points",
            Named("tasks.heatmap.downstream"),
            Named("tasks.heatmap.COLUMNS"),
        ),
        aliases=("task_accuracy",),
        where=lambda config: bool(sources.downstream(config)),
    ),
)
