"""The entries of the tables of claims."""

from collections.abc import Callable

from lape.items import evidence
from lape.items.entry import Item, Named, Table


def _claims(title: str, inputs: Callable[[dict], list[str]]) -> Table:
    return Table(
        title,
        ("table", "neurons"),
        inputs,
        Named("claims.rows.claims"),
        Named("claims.rows.claim_sections"),
        read_beside=Named("claims.rows.data"),
    )


ITEMS = (
    Item("claims", "all", _claims("Claims of the papers", evidence.claims), models="deactivation_matrix"),
    Item(
        "claims_of_both_papers",
        "paper",
        _claims("Claims of both papers", evidence.claims_of_both_papers),
        models="deactivation_matrix",
    ),
)
