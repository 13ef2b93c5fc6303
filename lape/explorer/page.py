"""The page itself: what the run tells, packed into one HTML file, or beyond 20 MB into files beside it."""

import base64
import gzip
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lape.artifacts.files import writing
from lape.contexts.inspected import Inspection
from lape.explorer import cards, charts, neurons, overview, sets
from lape.explorer.answers import answers
from lape.explorer.bundles import bundles
from lape.explorer.items import items
from lape.explorer.neuronpedia import model_page
from lape.explorer.run import Run
from lape.items.tables import read
from lape.neurons.table import Neurons

# Bytes of the page beyond which the neurons' cards lie in files beside it.
LARGEST = 20e6
# In the order in which they are read: each part may use those before it.
SCRIPTS = ("parts", "charts", "neurons", "card", "sets", "answers", "main")

# Of a neuron, beside its layer.
_COLUMNS = ("kind", "expert", "index", "entropy", "frequency", "strongest", "promoted")

Stored = Mapping[tuple[str, str], Sequence[Inspection]]


@dataclass(frozen=True)
class Page:
    """A page before it is written.

    Attributes:
        fields: what the template is filled with.
        parts: name -> packed part that lies in the page.
        beside: name -> packed part that may lie beside the page.
    """

    fields: dict
    parts: dict[str, str]
    beside: dict[str, str]

    def write(self, path: Path, largest: float = LARGEST) -> list[Path]:
        """Write the page, and beyond `largest` bytes its cards into files beside it, in <name>.data.

        Returns:
            the files that were written.

        Raises:
            LapeError: the folder cannot be written.
        """
        folder = path.with_suffix(".data")
        apart = sum(map(len, (*self.parts.values(), *self.beside.values()))) > largest
        files = []
        if not apart:
            shutil.rmtree(folder, ignore_errors=True)  # of a former page
        for name, part in self.beside.items() if apart else ():
            files.append(folder / f"{name}.js")
            with writing(files[-1]) as temporary:
                temporary.write_text(f'takePart("{name}", "{part}");\n', encoding="ascii")
        parts = self.parts | ({} if apart else self.beside)
        html = _template().render(**self.fields, parts=parts, folder=folder.name if apart else "")
        with writing(path) as temporary:
            # A lone surrogate, which UTF-8 cannot hold, becomes a reference that browsers show as a missing character.
            temporary.write_bytes(html.encode("utf-8", "xmlcharrefreplace"))
        return [path, *files]


def page(run: Run, captions: Path, contexts: Stored) -> Page:
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
        "selections": [_selection(run, found, contexts.get(key, ())) for key, found in selections.items()],
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
        "headline": list(overview.headline(run)),
        "claims": overview.claims(run),
        "charts": list(content["charts"]),
        "selections": bool(selections),
        "views": bool(views),
        "answers": bool(asked),
        "items": shown,
        "contexts": bool(contexts),
        "columns": {name for each in content["selections"] for name in (*each["columns"], *each["by_language"])},
        "style": _own("page.css"),
        "script": Markup("\n").join(_own(f"{name}.js") for name in SCRIPTS),
    }
    beside = {
        f"cards-{number}-{place}": packed(group)
        for number, key in enumerate(selections)
        for place, group in enumerate(cards.groups(contexts.get(key, ())))
    }
    return Page(fields, parts | {name: _squeezed(text.encode()) for name, text in bundles().items()}, beside)


def packed(content: object) -> str:
    """A part of the page: JSON in ASCII, compressed, as base64. Nothing in it can be taken for markup."""
    return _squeezed(json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii"))


def _squeezed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode("ascii")


def _selection(run: Run, found: Neurons, contexts: Sequence[Inspection]) -> dict:
    """The neurons of one model and method, column by column."""
    frame = neurons.table(run, found)
    header = found.summary
    owners = [[found.sets.index(name) for name in names] for names in frame["languages"]]
    by_language = {
        kind: [_numbers(frame[f"{kind}_{name}"]) if f"{kind}_{name}" in frame else None for name in found.sets]
        for kind in ("probability", "average_precision", "rank")
        if any(f"{kind}_{name}" in frame for name in found.sets)
    }
    if contexts:
        of_cards = [
            (cards.strongest(one, names), cards.promoted(one, names))
            for one, names in zip(contexts, frame["languages"], strict=True)
        ]
        frame[["strongest", "promoted"]] = pd.DataFrame(of_cards, dtype=float)
    site = model_page(header.get("checkpoint"), header["model"])
    return {
        "model": header["model"],
        "method": header["method"],
        "file": str(Path(found.origin).with_suffix(".tsv")),
        "sets": list(found.sets),
        "neurons": found.sites.neurons,
        "units": _units(run, header["model"]),
        "site": site and {"address": site[0], "neurons": site[1]},
        "owners": owners,
        "columns": {
            "layer": (frame["layer"] + 1).tolist(),
            **{name: _numbers(frame[name]) for name in _COLUMNS if name in frame},
        },
        "by_language": by_language,
        "cards": cards.GROUP if contexts else 0,
    }


def _units(run: Run, model: str) -> int | None:
    """The number of the model's units that were scored by average precision."""
    headers = run.headers("average_precision").values()
    return next((header["units"] for header in headers if header["model"] == model), None)


def _numbers(column: pd.Series) -> list:
    """A column for JSON: six digits of each number, None for NaN, and text as it is."""
    if pd.api.types.is_float_dtype(column):
        return [None if pd.isna(value) else float(f"{value:.6g}") for value in column]
    return column.tolist()


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


def _own(name: str) -> Markup:
    """A style sheet or a script of this package, as it stands in the page."""
    return Markup((resources.files(__package__) / name).read_text(encoding="utf-8"))


def _template():
    environment = Environment(
        loader=PackageLoader(__package__, "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html")
