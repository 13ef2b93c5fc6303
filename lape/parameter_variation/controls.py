"""Controls of PV's parameters: as many per matrix and language, drawn from the parameters that are in no set.

A random control answers the question whether any parameters would do. But PV selects parameters by their changes, and
to set a weight to zero does more the larger the weight is. A magnitude-matched control is therefore drawn from
parameters whose weight is about as large, and whose change in the language is about as large.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from lape.errors import LapeError
from lape.machine.progress import progress
from lape.neurons.set_names import known_sets
from lape.parameter_variation.parameters import Parameters
from lape.parameter_variation.reading import blocks, check_matrices

# Most bins of the size of the weight, and of the size of the change in each of these; parameters in a bin on average.
BINS, _PER_BIN = 10, 25


def control_parameters(parameters: Parameters, seed: int) -> Parameters:
    """A random control: per matrix and language as many parameters, drawn from those outside all languages' sets.

    Every draw is made for one matrix and one language alone.

    Args:
        parameters: selected parameters.
        seed: seed of numpy's PCG64 generator; another seed is another draw.

    Raises:
        LapeError: a matrix has fewer parameters outside all sets than one language has in it.
    """
    drawn = {}
    for number, (name, places) in enumerate(parameters.index.items()):
        others = _others(parameters, name)
        for language, column in zip(parameters.sets, parameters.member[name].T, strict=True):
            rest = np.sort(_generator(seed, number, language).choice(others, int(column.sum()), replace=False))
            # Of the places that are in no set, number r lies behind all selected places p with p - rank <= r.
            rest += np.searchsorted(places - np.arange(len(places)), rest, side="right")
            drawn[name, language] = rest
    return _control(parameters, drawn)


def magnitude_matched_controls(
    parameters: Parameters,
    base: Mapping,
    finetuned: Mapping[str, Mapping],
    seeds: Sequence[int],
    languages: Sequence[str] | None = None,
) -> list[Parameters]:
    """Draw per language, for its parameters, others of the same matrix whose weights and changes are about as large.

    Two sizes are matched: |w|, which is what zeroing takes away, and |change| in the language, by which PV selects. The
    relative change |change| / |w| is then about as large, too. The sizes of the language's own parameters are cut at
    their quantiles into up to 10 bins of |w|, and in each of these into as many bins of |change|. Smaller sets have
    fewer bins, so that a bin has about 25 parameters or more. From every bin as many parameters are drawn as the
    language has in it. Where a bin lacks parameters outside all sets, random ones of the matrix take their places.

    Matrices are read in blocks of rows, twice. One byte per language and parameter of a single matrix is kept.

    Args:
        parameters: selected parameters.
        base: see `lape.parameter_variation.selection.select_parameters`.
        finetuned: language -> matrix -> weights after, for every language that is drawn.
        seeds: seeds of numpy's PCG64 generator, one per control. A control does not depend on the other seeds.
        languages: those whose sets are drawn, the same as if all were; None: all. The other sets stay empty.

    Returns:
        one control per seed. `summary["unmatched"]` is the number of parameters per language that are random ones of
        the matrix.

    Raises:
        LapeError: a language has no copy, the matrices differ in shape, or a matrix has fewer parameters outside all
            sets than one language has in it.
    """
    wanted = parameters.sets if languages is None else known_sets(languages, parameters.sets, parameters.origin)
    for language in wanted:
        if language not in finetuned:
            raise LapeError(f"{parameters.origin}: no fine-tuned copy of {language}; pass that of each language")
        check_matrices(language, finetuned[language], dict(parameters.matrices))
    drawn: list[dict[tuple[str, str], np.ndarray]] = [{} for _ in seeds]
    unmatched = [dict.fromkeys(wanted, 0) for _ in seeds]
    total = sum(math.prod(parameters.matrices[name]) for name in parameters.index)
    with progress(total, "control of parameters", "parameter") as bar:
        for number, name in enumerate(parameters.index):
            _others(parameters, name)
            bins = _bins_of_matrix(parameters, name, base[name], [finetuned[each][name] for each in wanted], wanted)
            for language, (own, cells) in bins.items():
                for control, seed in enumerate(seeds):
                    places, lacking = _draw(own, cells, _generator(seed, number, language))
                    drawn[control][name, language] = places
                    unmatched[control][language] += lacking
            bar.update(math.prod(parameters.matrices[name]))
    controls = []
    for places, lacking in zip(drawn, unmatched, strict=True):
        control = _control(parameters, places)
        control.summary["unmatched"] = lacking
        controls.append(control)
    return controls


# A cell of parameters in no bin, and of parameters that are in a set.
_NO_BIN, _TAKEN = 254, 255


class _Bins:
    """Bins of the sizes of weights and changes, cut at the quantiles of some parameters.

    Args:
        weight, change: float32 [n], the sizes of the weights and of the changes of the parameters, n from 1.
    """

    def __init__(self, weight: np.ndarray, change: np.ndarray):
        self._number = int(np.clip(math.sqrt(len(weight) / _PER_BIN), 1, BINS))
        levels = np.linspace(0, 1, self._number + 1)
        self._weights = np.quantile(weight, levels)
        rows = self._row(weight)
        self._changes = [np.quantile(change[rows == row], levels) for row in range(self._number) if (rows == row).any()]
        self._rows = [row for row in range(self._number) if (rows == row).any()]
        self._highest = change.max()

    def cells(self, weight: np.ndarray, change: np.ndarray) -> np.ndarray:
        """The number of each parameter's bin, uint8 [n]; `_NO_BIN` where it is outside of all bins."""
        cells = np.full(len(weight), _NO_BIN, np.uint8)
        # Few parameters change as little as those that PV selects. The others need no further look.
        near = np.flatnonzero((change <= self._highest) & (weight >= self._weights[0]) & (weight <= self._weights[-1]))
        rows, changes = self._row(weight[near]), change[near]
        for row, edges in zip(self._rows, self._changes, strict=True):
            there = np.flatnonzero((rows == row) & (changes >= edges[0]) & (changes <= edges[-1]))
            columns = np.searchsorted(edges[1:-1], changes[there], side="right")
            cells[near[there]] = row * self._number + columns
        return cells

    def _row(self, weight: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._weights[1:-1], weight, side="right")


def _bins_of_matrix(
    parameters: Parameters, name: str, base, copies: Sequence, languages: Sequence[str]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Per language with parameters in a matrix: their bins [n], and those of all parameters, `_TAKEN` in a set."""
    places = parameters.index[name]
    members = {each: parameters.member[name][:, parameters.sets.index(each)] for each in languages}
    members = {each: member for each, member in members.items() if member.any()}
    copies = [copy for each, copy in zip(languages, copies, strict=True) if each in members]
    sizes = np.empty((1 + len(members), len(places)), np.float32)
    for first, before, after in blocks(base, copies):
        here = slice(*np.searchsorted(places, (first, first + len(before))))
        own = places[here] - first
        sizes[0, here] = np.abs(before[own])
        for row, values in zip(sizes[1:], after, strict=True):
            row[here] = np.abs(values[own] - before[own])
    bins = [_Bins(sizes[0, member], row[member]) for member, row in zip(members.values(), sizes[1:], strict=True)]
    cells = np.empty((len(bins), math.prod(parameters.matrices[name])), np.uint8)
    for first, before, after in blocks(base, copies):
        weight = np.abs(before)
        for row, own, values in zip(cells, bins, after, strict=True):
            row[first : first + len(before)] = own.cells(weight, np.abs(values - before))
    found = {}
    for (language, member), row in zip(members.items(), cells, strict=True):
        own = row[places[member]]
        row[places] = _TAKEN
        found[language] = own, row
    return found


def _draw(own: np.ndarray, cells: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, int]:
    """Places of a matrix, sorted, as many in each bin as `own` has in it; and how many were drawn from no bin."""
    free = np.flatnonzero(cells < _NO_BIN)
    free = free[np.argsort(cells[free], kind="stable")]  # bin by bin
    numbers, wanted = np.unique(own, return_counts=True)
    starts, ends = (np.searchsorted(cells[free], numbers, side=side) for side in ("left", "right"))
    drawn = [
        free[start + generator.choice(end - start, min(count, end - start), replace=False)]
        for count, start, end in zip(wanted.tolist(), starts.tolist(), ends.tolist(), strict=True)
    ]
    places = np.concatenate(drawn)
    lacking = len(own) - len(places)
    if lacking:
        left = cells != _TAKEN
        left[places] = False
        places = np.append(places, generator.choice(np.flatnonzero(left), lacking, replace=False))
    return np.sort(places), lacking


def _others(parameters: Parameters, name: str) -> int:
    """The number of parameters of a matrix that are in no set.

    Raises:
        LapeError: there are fewer than one language has in the matrix.
    """
    others = math.prod(parameters.matrices[name]) - len(parameters.index[name])
    for language, wanted in zip(parameters.sets, parameters.member[name].sum(axis=0).tolist(), strict=True):
        if wanted > others:
            raise LapeError(
                f"{name}: {language} has {wanted} of its parameters, and {others} are in no set, too few for a "
                "control; lower parameter_variation.ratio"
            )
    return others


def _generator(seed: int, matrix: int, language: str) -> np.random.Generator:
    """The generator of one draw. No draw depends on the other languages and matrices."""
    return np.random.default_rng([seed, matrix, *language.encode()])


def _control(parameters: Parameters, drawn: Mapping[tuple[str, str], np.ndarray]) -> Parameters:
    """The places that were drawn, by matrix and language, as parameters with the same sets."""
    index, member = {}, {}
    for name in parameters.index:
        parts = [drawn.get((name, language), np.empty(0, np.int64)) for language in parameters.sets]
        places = np.unique(np.concatenate(parts))
        if len(places):
            index[name] = places
            member[name] = np.stack([np.isin(places, part, assume_unique=True) for part in parts], axis=1)
    summary = {"selected": sum(len(places) for places in index.values())}
    return Parameters(index, member, parameters.sets, parameters.matrices, summary)
