"""How stable a selection of neurons is: what other text of the same kind would have selected.

The shards of the statistics are the sample. A shard is a run of whole chunks, so that it keeps together the tokens of
a document, which fire the same neurons; shards are nearly independent where tokens are not. Neurons are selected anew
from sums of shards, which are exact; no forward pass is repeated. Languages are drawn independently, as their texts
are.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lape.neurons.agreement import ALL, members
from lape.neurons.table import Neurons, located
from lape.statistics.sums import ActivationStatistics, carried

# From language -> statistics to neurons, such as `lape.select_lape` with its parameters bound.
Select = Callable[[Mapping[str, ActivationStatistics]], Neurons]

# The frames of a stability artifact.
PARTS = ("splits", "resamples", "frequency", "left_out")


@dataclass(frozen=True)
class Shards:
    """One language's S shards, stacked, with the sums that a selection needs and no other.

    Attributes:
        count: int64 [S, L, I], see `ActivationStatistics`.
        rows: int64 [S, L, E].
        tokens: int64 [S].
        totals: int64 [S, 2, L, I], or None where the selection needs no means.
    """

    count: np.ndarray
    rows: np.ndarray
    tokens: np.ndarray
    totals: np.ndarray | None

    @classmethod
    def of(cls, shards: Iterable[ActivationStatistics], means: bool = True) -> "Shards":
        """Stack the shards of one language.

        Args:
            shards: read one by one where it is an iterator.
            means: keep the sums of the activation, which LAVE alone needs: two thirds of the memory.
        """
        kept = [(shard.count, shard.rows, shard.tokens, shard.totals if means else None) for shard in shards]
        count, rows, tokens, totals = zip(*kept, strict=True)
        return cls(np.stack(count), np.stack(rows), np.array(tokens), np.stack(totals) if means else None)

    def __len__(self) -> int:
        return len(self.tokens)

    def pooled(self, weights: np.ndarray) -> ActivationStatistics:
        """The sum of the shards, each as often as its weight, int64 [S], says; squares and thresholds left out."""
        count = np.einsum("s,sli->li", weights, self.count)
        zeros = np.broadcast_to(np.int64(0), (2, *count.shape))
        return ActivationStatistics(
            count=count,
            tokens=int(weights @ self.tokens),
            rows=np.einsum("s,sle->le", weights, self.rows),
            totals=zeros if self.totals is None else carried(np.einsum("s,spli->pli", weights, self.totals)),
            squares=zeros,
            above=np.empty((0, *count.shape), np.int64),
        )


def parts(shards: Mapping[str, Shards], select: Select, resamples: int, seed: int) -> dict[str, pd.DataFrame]:
    """Everything here, by the names of `PARTS`; see `splits`, `bootstrap` (which gives two) and `left_out`."""
    frames = splits(shards, select, resamples, seed), *bootstrap(shards, select, resamples, seed)
    return dict(zip(PARTS, (*frames, left_out(shards, select)), strict=True))


def selections(shards: Mapping[str, Shards], resamples: int) -> int:
    """How often `parts` selects."""
    again = 1 + len(shards) if len(shards) > 2 else 0
    return resamples * (2 * len(group_sizes(shards)) + 1) + 1 + again


def group_sizes(shards: Mapping[str, Shards]) -> list[int]:
    """From one shard to half of the smallest number of them: at most six sizes, even on a logarithmic axis."""
    half = min(map(len, shards.values())) // 2
    return np.unique(np.geomspace(1, half, 6).round().astype(int)).tolist()


def select_all(shards: Mapping[str, Shards], select: Select) -> Neurons:
    """The neurons that all shards together select, which is the artifact's own selection."""
    return select({language: stack.pooled(np.ones(len(stack), np.int64)) for language, stack in shards.items()})


def splits(shards: Mapping[str, Shards], select: Select, resamples: int, seed: int) -> pd.DataFrame:
    """Selections from two disjoint groups of m shards of every language, for the m of `group_sizes`.

    The largest m is the split-half comparison (with an odd S one shard, drawn anew every time, sits out, so that the
    halves are equal); all together are the curve of agreement over tokens.

    Args:
        shards: language -> its shards, two at least; S is the smallest number of them.
        select: the selection to repeat.
        resamples: random pairs of groups for every m.
        seed: of numpy's PCG64 generator.

    Returns:
        Columns shards (m), resample, language (`ALL` first), first, second (neurons selected from either group) and
        shared (from both).
    """
    generator = np.random.default_rng(seed)
    blocks = []
    for size in group_sizes(shards):
        for resample in range(resamples):
            orders = {language: generator.permutation(len(stack)) for language, stack in shards.items()}
            first, second = (
                members(
                    select(
                        {
                            language: stack.pooled(np.bincount(orders[language][part], minlength=len(stack)))
                            for language, stack in shards.items()
                        }
                    )
                )
                for part in (slice(size), slice(size, 2 * size))
            )
            sizes = {"first": first.sum(axis=1), "second": second.sum(axis=1), "shared": (first & second).sum(axis=1)}
            blocks.append(pd.DataFrame({"shards": size, "resample": resample, "language": [ALL, *shards], **sizes}))
    return pd.concat(blocks, ignore_index=True)


def bootstrap(
    shards: Mapping[str, Shards], select: Select, resamples: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Selections from shards drawn with replacement, S - 1 out of S for every language.

    One fewer than there are: the variance of a mean over m draws from S shards is on average (S - 1) / S of the shards'
    own variance, over m; m = S - 1 makes that the variance of a mean over S independent shards, where m = S is an
    eighth too small with 8 shards and half with 2. Probabilities and means are ratios to the tokens drawn, so that
    a smaller draw changes nothing else.

    Args:
        shards, select, resamples, seed: see `splits`.

    Returns:
        Columns resample, language (`ALL` first), neurons (in the resample) and shared (with the selection from all
        shards); and a row for every neuron that was selected at least once, or from all shards: layer, (expert,)
        index, languages (from all shards; empty where it is not selected from them), frequency (share of resamples
        that select it) and frequency_<language>.
    """
    generator = np.random.default_rng(seed)
    whole = select_all(shards, select)
    full = members(whole)
    hits = np.zeros(full.shape, np.int64)
    blocks = []
    for resample in range(resamples):
        drawn = {}
        for language, stack in shards.items():
            draws = generator.integers(0, len(stack), len(stack) - 1)
            drawn[language] = stack.pooled(np.bincount(draws, minlength=len(stack)))
        member = members(select(drawn))
        hits += member
        sizes = {"neurons": member.sum(axis=1), "shared": (member & full).sum(axis=1)}
        blocks.append(pd.DataFrame({"resample": resample, "language": [ALL, *shards], **sizes}))

    found = np.flatnonzero(hits[0] + full[0])
    languages = np.array(list(shards), object)
    frequency = pd.DataFrame(
        {
            **located(found, whole.neurons_per_layer, whole.experts),
            "languages": [",".join(languages[owners]) for owners in full[1:, found].T],
            "frequency": hits[0, found] / resamples,
            **{f"frequency_{language}": hits[1 + k, found] / resamples for k, language in enumerate(languages)},
        }
    )
    return pd.concat(blocks, ignore_index=True), frequency


def left_out(shards: Mapping[str, Shards], select: Select) -> pd.DataFrame:
    """What becomes of the others' neurons when one language is left out of the comparison.

    Args:
        shards, select: see `splits`.

    Returns:
        Columns left_out, language (`ALL`: of any remaining language), before, after (neurons with and without the
        language left out) and kept (in both); no row for two languages, as one has nothing to be compared with.
    """
    columns = ["left_out", "language", "before", "after", "kept"]
    if len(shards) < 3:
        return pd.DataFrame(columns=columns)
    whole = members(select_all(shards, select))
    blocks = []
    for number, language in enumerate(shards, start=1):
        others = {name: stack for name, stack in shards.items() if name != language}
        before = np.delete(whole, number, axis=0)
        before[0] = before[1:].any(axis=0)
        after = members(select_all(others, select))
        sizes = before.sum(axis=1), after.sum(axis=1), (before & after).sum(axis=1)
        rows = zip([ALL, *others], *sizes, strict=True)
        blocks.append(pd.DataFrame([(language, *row) for row in rows], columns=columns))
    return pd.concat(blocks, ignore_index=True)
