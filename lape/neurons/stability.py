"""How stable a selection of neurons is: which neurons other text of the same kind would have selected.

The shards of the statistics are the sample. The tokens of one document fire the same neurons, so tokens are not
independent. A shard is a run of whole chunks and keeps the tokens of a document together, so shards are nearly
independent. Neurons are selected anew from sums of shards, which are exact; no forward pass is repeated. Shards are
drawn per language, independently of the other languages, because the texts of the languages are independent.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lape.model.sites import Sites
from lape.neurons.agreement import ALL, members
from lape.neurons.table import Neurons
from lape.statistics.sums import ActivationStatistics, carried

# A function from (language -> statistics) to neurons, such as `lape.select_lape` with its parameters bound.
Select = Callable[[Mapping[str, ActivationStatistics]], Neurons]

# The names of the data frames that make up a stability artifact.
PARTS = ("splits", "resamples", "frequency", "left_out")


@dataclass(frozen=True)
class Shards:
    """The S shards of one language, stacked. They hold only the sums that a selection needs.

    Attributes:
        sites: see `ActivationStatistics`.
        count: int64 [S, N].
        rows: int64 [S, B].
        tokens: int64 [S].
        totals: int64 [S, 2, N]; None where the selection needs no means.
    """

    sites: Sites
    count: np.ndarray
    rows: np.ndarray
    tokens: np.ndarray
    totals: np.ndarray | None

    @classmethod
    def of(cls, shards: Iterable[ActivationStatistics], means: bool = True) -> "Shards":
        """Stack the shards of one language.

        Args:
            shards: the shards. An iterator is read shard by shard.
            means: keep the sums of the activation. LAVE alone needs them, and they take two thirds of the memory.
        """
        kept = [
            (shard.sites, shard.count, shard.rows, shard.tokens, shard.totals if means else None) for shard in shards
        ]
        sites, count, rows, tokens, totals = zip(*kept, strict=True)
        return cls(sites[0], np.stack(count), np.stack(rows), np.array(tokens), np.stack(totals) if means else None)

    def __len__(self) -> int:
        return len(self.tokens)

    def pooled(self, weights: np.ndarray) -> ActivationStatistics:
        """The sum of the shards, each times its weight, int64 [S]; without squares and counts above thresholds."""
        count = np.einsum("s,s...->...", weights, self.count)
        zeros = np.broadcast_to(np.int64(0), (2, *count.shape))
        return ActivationStatistics(
            sites=self.sites,
            count=count,
            tokens=int(weights @ self.tokens),
            rows=np.einsum("s,s...->...", weights, self.rows),
            totals=zeros if self.totals is None else carried(np.einsum("s,s...->...", weights, self.totals)),
            squares=zeros,
            above=np.empty((0, *count.shape), np.int64),
        )


def parts(shards: Mapping[str, Shards], select: Select, resamples: int, seed: int) -> dict[str, pd.DataFrame]:
    """The frames of a stability artifact by their names in `PARTS`, made by `splits`, `bootstrap` and `left_out`."""
    frames = splits(shards, select, resamples, seed), *bootstrap(shards, select, resamples, seed)
    return dict(zip(PARTS, (*frames, left_out(shards, select)), strict=True))


def selections(shards: Mapping[str, Shards], resamples: int) -> int:
    """How many selections `parts` makes."""
    again = 1 + len(shards) if len(shards) > 2 else 0
    return resamples * (2 * len(group_sizes(shards)) + 1) + 1 + again


def group_sizes(shards: Mapping[str, Shards]) -> list[int]:
    """Sizes of groups of shards, at most six and evenly spaced on a logarithmic axis.

    They go from one shard to half of the shards of the language that has the fewest.
    """
    half = min(map(len, shards.values())) // 2
    return np.unique(np.geomspace(1, half, 6).round().astype(int)).tolist()


def select_all(shards: Mapping[str, Shards], select: Select) -> Neurons:
    """The neurons that all shards together select, which are the neurons of the run."""
    return select({language: stack.pooled(np.ones(len(stack), np.int64)) for language, stack in shards.items()})


def splits(shards: Mapping[str, Shards], select: Select, resamples: int, seed: int) -> pd.DataFrame:
    """Selections from two disjoint groups of m shards of every language, for the m of `group_sizes`.

    The largest m compares halves of the text. Where S is odd, one shard sits out so that the halves are equal; it is
    drawn anew for every pair. All m together make the curve of agreement over tokens.

    Args:
        shards: language -> its shards, at least two. S is the smallest number of shards of a language.
        select: the selection to repeat.
        resamples: number of random pairs of groups for every m.
        seed: seed of numpy's PCG64 generator.

    Returns:
        Columns shards (m), resample, language (`ALL` first), first and second (number of neurons that the first and the
        second group select) and shared (number of neurons that both select).
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
    """Selections from shards drawn with replacement: S - 1 draws from the S shards of every language.

    S draws would make the variance too small. With v the variance of a shard, the mean over m draws from S given shards
    has on average the variance v (S - 1) / (S m). The mean over S independent shards has the variance v / S. The two
    are equal for m = S - 1. For m = S the first is too small by an eighth with 8 shards, and by half with 2. Drawing
    one shard less changes nothing else, because probabilities and means are divided by the tokens drawn.

    Args:
        shards, select, resamples, seed: see `splits`.

    Returns:
        Two frames.

        - Columns resample, language (`ALL` first), neurons (number in the resample) and shared (number that the
          selection from all shards has too).
        - One row per neuron that some resample or the selection from all shards has, with columns layer, (expert,)
          index, languages (those that all shards select it for; empty where they do not select it), frequency (share of
          the resamples that select it) and frequency_<language>.
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
            **whole.sites.located(found),
            "languages": [",".join(languages[owners]) for owners in full[1:, found].T],
            "frequency": hits[0, found] / resamples,
            **{f"frequency_{language}": hits[1 + k, found] / resamples for k, language in enumerate(languages)},
        }
    )
    return pd.concat(blocks, ignore_index=True), frequency


def left_out(shards: Mapping[str, Shards], select: Select) -> pd.DataFrame:
    """What becomes of the neurons of the other languages when one language is left out of the comparison.

    Args:
        shards, select: see `splits`.

    Returns:
        Columns left_out, language (`ALL`: any remaining language), before and after (number of neurons selected with
        and without the language that is left out) and kept (number selected both times). There is no row for two
        languages, as the remaining one would have nothing to be compared with.
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
