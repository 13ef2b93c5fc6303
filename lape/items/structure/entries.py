"""The entries of the items on the layers where languages meet."""

from lape.items import sources
from lape.items.entry import Figure, Item, Named, Table

ITEMS = (
    Item(
        "similarity_by_layer",
        "paper",
        Table(
            "Data of Figure 6: similarity of aligned sentences by layer",
            ("embeddings", "neurons"),
            sources.similarity_by_layer,
            Named("structure.rows.similarity_by_layer"),
            Named("structure.rows.similarity_by_layer_sections"),
            read_beside=Named("structure.rows.data"),
        ),
        Figure(
            "Figure 6: similarity of aligned sentences, and neurons, by layer",
            Named("structure.figures.similarity_by_layer"),
            Named("structure.figures.COLUMNS"),
        ),
        aliases=("figure6",),
    ),
    Item(
        "dominance_by_layer",
        "paper",
        Table(
            "Data of Figure 7: dominance by layer",
            ("embeddings",),
            sources.dominance_by_layer,
            Named("structure.rows.dominance_by_layer"),
            Named("structure.rows.dominance_by_layer_sections"),
            read_beside=Named("structure.rows.data"),
        ),
        Figure(
            "Figure 7: dominance by layer and target language",
            Named("structure.figures.dominance_by_layer"),
            Named("structure.figures.DOMINANCE_COLUMNS"),
        ),
        aliases=("figure7",),
    ),
)
