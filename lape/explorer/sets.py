"""Which neurons languages share, and which methods agree on: the intersections of an UpSet plot."""

from collections import Counter
from collections.abc import Iterator, Mapping

from lape.neurons.table import Neurons

# The largest intersections of a view; more would not fit on a page.
_SHOWN = 40


def views(selections: Mapping[tuple[str, str], Neurons]) -> Iterator[dict]:
    """The sets of each model and method by language, and the sets of each model by method.

    Returns:
        one dictionary per view: title, model, method (None where the methods are the sets), sets (name -> number of
        neurons), and intersections: the names of the sets and the number of neurons that are in these sets and no
        other, the largest first.
    """
    for (model, method), neurons in selections.items():
        owners = Counter(neurons.table["languages"])
        yield _view(f"{model}: languages of {method}", model, method, list(neurons.sets), owners)
    for model in dict.fromkeys(model for model, _ in selections):
        methods = {method: set(found.numbers().tolist()) for (own, method), found in selections.items() if own == model}
        if len(methods) > 1:
            every = set().union(*methods.values())
            owners = Counter(tuple(name for name in methods if number in methods[name]) for number in every)
            yield _view(f"{model}: methods", model, None, list(methods), owners)


def _view(title: str, model: str, method: str | None, names: list[str], owners: Counter) -> dict:
    sizes = {name: sum(number for sets, number in owners.items() if name in sets) for name in names}
    found = sorted(owners.items(), key=lambda pair: (-pair[1], len(pair[0]), pair[0]))[:_SHOWN]
    intersections = [{"sets": list(sets), "neurons": number} for sets, number in found]
    return {"title": title, "model": model, "method": method, "sets": sizes, "intersections": intersections}
