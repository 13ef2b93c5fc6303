"""The entries of the items on tasks under deactivation."""

from lape.items import sources
from lape.items.entry import Figure, Item, Named, Table
from lape.items.sources import bootstrap

ITEMS = (
    Item(
        "task_accuracy",
        "paper",
        Table(
            "Accuracy on tasks under deactivation",
            ("accuracy",),
            sources.task_accuracy,
            Named("tasks.rows.task_accuracy"),
            Named("tasks.sections.task_accuracy_sections"),
            read_beside=Named("tasks.inputs.data"),
            options=bootstrap("scores"),
        ),
        Figure(
            "Accuracy on tasks under deactivation: change in points",
            Named("tasks.heatmap.task_accuracy"),
            Named("tasks.heatmap.COLUMNS"),
        ),
        where=lambda config: bool(sources.task_accuracy(config)),
    ),
)
