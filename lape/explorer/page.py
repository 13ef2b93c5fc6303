"""What the page shows of a run, collected from its artifacts."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from lape.contexts.inspected import Inspection
from lape.explorer import cards, charts, neurons, overview, sets
from lape.explorer.answers import answers
from lape.explorer.bundles import bundles
from lape.explorer.items import items
from lape.explorer.packing import Page, packed, squeezed
from lape.explorer.run import Run
from lape.items.tables import read


def page(run: Run, captions: Path, contexts: Mapping[tuple[str, str], Sequence[Inspection]]) -> Page:
    """Collect what a page shows.

    Args:
        run: the run.
        captions: folder of the items' captions.
        contexts: (model, method) -> what was found of each of its neurons, in the order of their table; empty where the
            run has none.

    Raises:
        LapeError: an artifact is missing or damaged.
    """
    selections = neurons.selections(run)
    views = [view for view in sets.views(selections) if view["intersections"]]
    shown = items(run, captions)
    asked = answers(run)
    holds, audit = overview.verdict(run)
    content = {
        "order": run.config.get("languages", []),
        "charts": dict(_charts(run, selections, views)),
        "selections": [neurons.columns(run, found, contexts.get(key, ())) for key, found in selections.items()],
        "views": views,
    }
    parts = {"content": packed(content), "files": packed({item.name: item.files for item in shown})}
    if asked:
        parts["answers"] = packed(asked)
    fields = {
        "name": run.name,
        "facts": overview.facts(run),
        "holds": holds,
        "audit": audit,
        "headline": overview.headline(run),
        "charts": list(content["charts"]),
        "selections": bool(selections),
        "views": bool(views),
        "answers": bool(asked),
        "items": shown,
        "contexts": bool(contexts),
        "columns": {name for each in content["selections"] for name in (*each["columns"], *each["by_language"])},
    }
    beside = {
        f"cards-{number}-{place}": packed(group)
        for number, key in enumerate(selections)
        for place, group in enumerate(cards.groups(contexts.get(key, ())))
    }
    parts |= {name: squeezed(text) for name, text in bundles().items()}
    return Page(fields, parts, beside)


def _charts(run: Run, selections: Mapping, views: list[dict]) -> Iterator[tuple[str, dict]]:
    """Name -> specification of each chart that the run has data for."""
    order = run.config.get("languages", [])
    if (frame := overview.matrices(run)) is not None:
        yield "matrix", charts.matrix(frame, order, run.config.get("perplexity", {}).get("resamples", 0))
    if header := run.table("layers_by_method") or run.table("neurons_per_layer"):
        yield "layers", charts.layers(read(header.with_suffix(".csv"), ("model", "method", "language", "ours")), order)
    if selections:
        yield "counts", charts.counts(_counts(run, selections), order)
    if views:
        yield "upset", charts.upset(views)
    yield "histogram", charts.histogram()


def _counts(run: Run, selections: Mapping) -> pd.DataFrame:
    """The number of neurons of every model, method and language, with the interval where the stability gives one."""
    rows = [
        {"model": model, "method": method, "language": language, "neurons": number}
        for (model, method), found in selections.items()
        for language, number in found.counts().items()
    ]
    frame = pd.DataFrame(rows)
    if header := run.table("stability"):
        known = read(header.with_suffix(".csv"), ("model", "method", "language", "low", "high"))
        return frame.merge(known[["model", "method", "language", "low", "high"]], "left")
    return frame.assign(low=float("nan"), high=float("nan"))
