"""What the papers say of the neurons themselves: their number, their layers and the languages that share them."""

from collections.abc import Iterator

import numpy as np

from lape.evaluation.uncertainty import share_interval
from lape.items.claims.verdict import FAILS, HOLDS, OPEN, TANG, Claim, above, below, outer_thirds
from lape.neurons.table import Neurons


def of_neurons(neurons: Neurons) -> Iterator[Claim]:
    """From LAPE's neurons of one model. Intervals over neurons are Wilson's, as if each had been drawn by itself."""
    if not len(neurons):
        return
    member, counts = neurons.membership(), neurons.counts()
    few = int((member.sum(axis=1) <= 2).sum())
    low, high = share_interval(few, len(neurons))
    numbers = np.bincount(member.sum(axis=1), minlength=5)
    yield Claim(
        "neurons belong to one or two languages",
        f"{TANG} 2.2",
        f"share of the neurons with at most two languages (one {numbers[1]}, two {numbers[2]}, more "
        f"{numbers[3:].sum()}), above one half; interval over neurons",
        few / len(neurons),
        low,
        high,
        above(0.5, low, high),
    )
    if {"zh", "ja"} <= counts.keys():
        yield _overlap(member[:, [neurons.sets.index(name) for name in ("zh", "ja")]])
    if "en" in counts:
        yield _fewest(counts)
    yield from _layers(neurons)


def _overlap(member: np.ndarray) -> Claim:
    both, either = int(member.all(axis=1).sum()), int(member.any(axis=1).sum())
    low, high = share_interval(both, either) if either else (np.nan, np.nan)
    verdict = OPEN if not either else HOLDS if low <= 0.25 <= high else FAILS
    return Claim(
        "some 25% of the neurons of zh and ja belong to both",
        f"{TANG} 3.2",
        f"neurons of both ({both}) over neurons of either ({either}), 0.25 within the interval over neurons",
        both / either if either else np.nan,
        low,
        high,
        verdict,
    )


def _fewest(counts: dict[str, int]) -> Claim:
    others = {name: count for name, count in counts.items() if name != "en"}
    nearest = min(others, key=others.get)
    total = counts["en"] + others[nearest]
    low, high = share_interval(counts["en"], total) if total else (np.nan, np.nan)
    return Claim(
        "English has the fewest neurons",
        f"{TANG} 3.3.1",
        f"neurons of en ({counts['en']}) over those of en and of {nearest} ({others[nearest]}), the next smallest set, "
        "below one half; interval over neurons",
        counts["en"] / total if total else np.nan,
        low,
        high,
        below(0.5, low, high),
    )


def _layers(neurons: Neurons) -> Iterator[Claim]:
    per_layer = np.bincount(neurons.table["layer"], minlength=neurons.layers).astype(float)
    if neurons.layers < 6:
        return
    share, expected, p_value = outer_thirds(per_layer)
    low, high = share_interval(round(share * len(neurons)), len(neurons))
    verdict = HOLDS if p_value < 0.05 else FAILS if share < expected else OPEN
    third = neurons.layers // 3
    yield Claim(
        "neurons lie in the bottom and the top layers",
        f"{TANG} 3.3.2",
        f"share of the neurons in the outer thirds of the layers, above {expected:.2f} (permutation of layers: p = "
        f"{p_value:.3f}); interval over neurons",
        share,
        low,
        high,
        verdict,
    )
    middle = per_layer[third : neurons.layers - third]
    expected = third / (third + len(middle))
    for name, part in (("bottom", per_layer[:third]), ("top", per_layer[-third:])):
        hits, total = int(part.sum()), int(part.sum() + middle.sum())
        low, high = share_interval(hits, total) if total else (np.nan, np.nan)
        yield Claim(
            f"the {name} layers are one arm of a U",
            f"{TANG} 3.3.2",
            f"neurons of the {name} third of the layers over those of it and of the middle, above {expected:.2f}; "
            "interval over neurons",
            hits / total if total else np.nan,
            low,
            high,
            above(expected, low, high),
        )
