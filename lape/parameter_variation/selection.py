"""Which parameters belong to a language: PV, parameter variation (section 3.1 (d) of the paper).

One copy of the model is fine-tuned on each language. A parameter that hardly changes in one or two of the copies, and
changes much in the others, belongs to those one or two languages. The paper does not say by which threshold. Here a
parameter belongs to the languages whose share of the refined change is above an even share, 1/K.
"""

import logging
import math
from collections.abc import Mapping, Sequence

import numpy as np

from lape.errors import LapeError
from lape.machine.progress import progress
from lape.parameter_variation.parameters import Parameters
from lape.parameter_variation.reading import blocks, check_matrices

logger = logging.getLogger(__name__)

# What is compared between languages: the size of a parameter's change, or its change with the sign.
CHANGES = ("absolute", "signed")


def change_shares(
    base: np.ndarray, finetuned: Sequence[np.ndarray], change: str = "absolute"
) -> tuple[np.ndarray, np.ndarray]:
    """Entropy and shares over languages of the refined change of some parameters.

    The relative change of a language is |finetuned - base| / |base|, or with its sign (finetuned - base) / base. It is
    subtracted from the largest relative change, and the differences are divided by their sum. A language in which a
    parameter changes less than elsewhere therefore has a large share. All languages divide by the same base, so that
    its size cancels in the shares: only its sign is used. PV therefore selects by how changes differ between languages,
    and not by how large they are beside the weight.

    The entropy has the natural logarithm. All is computed by numpy in float32, and sums over languages are taken in
    order, so that the result does not depend on how matrices are cut into blocks.

    Args:
        base: float32 [n], the parameters before.
        finetuned: K arrays, float32 [n], the parameters after training on each language.
        change: one of `CHANGES`.

    Returns:
        the entropies, float32 [n], infinite where the base is zero (it has no relative change, and to set it to zero
        does nothing) or the change is the same in all languages; and the shares, float32 [K, n].
    """
    refined = np.empty((len(finetuned), base.size), np.float32)
    sign = np.sign(base)
    for row, values in zip(refined, finetuned, strict=True):
        np.subtract(values, base, out=row)
        if change == "absolute":
            np.abs(row, out=row)
        else:
            row *= sign
    np.subtract(refined.max(axis=0), refined, out=refined)
    total = refined[0].copy()
    for row in refined[1:]:
        total += row
    usable = (sign != 0) & (total > 0) & np.isfinite(total)
    entropy = np.zeros(base.size, np.float32)
    logs = np.zeros(base.size, np.float32)
    for row in refined:
        np.divide(row, total, out=row, where=usable)
        logs.fill(0)
        np.log(row, out=logs, where=usable & (row > 0))
        entropy -= row * logs
    entropy[~usable] = np.inf
    return entropy, refined


def select_parameters(
    base: Mapping, finetuned: Mapping[str, Mapping], ratio: float = 0.01, change: str = "absolute"
) -> Parameters:
    """The `ratio` of parameters with the lowest entropy of change over languages.

    Of equal parameters the one in the earlier matrix is taken first, then the one of lower index. Parameters that are
    zero in the base, or that change alike in all languages, are left out. A selected parameter belongs to every
    language whose share of the refined change is above 1/K. At least three languages are needed: with two, every share
    would be 0 or 1 and every entropy 0.

    Matrices are read in blocks of rows. No more than the best `ratio` of the parameters are kept in memory.

    Args:
        base: matrix -> weights before, a tensor or an array, in the model's order.
        finetuned: language -> matrix -> weights after, for K languages. They are float32 arrays, or safetensors slices,
            which are read block by block.
        ratio: share of all parameters of the matrices to select, in (0, 1].
        change: "absolute" compares the sizes of changes. "signed" compares changes with their sign: the parameter that
            falls most has the lowest one.

    Returns:
        the parameters. `summary` holds entropy_at_cut, entropy_maximum (ln (K - 1), as the language of the largest
        change has no share), wanted and selected.

    Raises:
        LapeError: the ratio is out of range, `change` is unknown, there are fewer than three languages, the matrices
            differ in shape, or no parameter changed in one language more than in another.
    """
    languages = list(finetuned)
    if len(languages) < 3:
        raise LapeError("languages: between two every entropy of PV is 0; name at least three")
    if not 0 < ratio <= 1:
        raise LapeError(f"parameter_variation.ratio: {ratio} is outside (0, 1]; set it to a share")
    if change not in CHANGES:
        raise LapeError(f"parameter_variation.change: {change!r} is unknown; use one of {', '.join(CHANGES)}")
    matrices = {name: tuple(weights.shape) for name, weights in base.items()}
    for language, copies in finetuned.items():
        check_matrices(language, copies, matrices)
    total = sum(math.prod(shape) for shape in matrices.values())
    wanted = round(ratio * total)
    if not wanted:
        raise LapeError(f"parameter_variation.ratio: {ratio} of {total} parameters is not one; raise it")

    best = _Lowest(wanted, len(languages))
    with progress(total, "parameter variation", "parameter") as bar:
        for number, name in enumerate(matrices):
            for first, before, after in blocks(base[name], [finetuned[language][name] for language in languages]):
                entropy, shares = change_shares(before, after, change)
                best.add(number, first, entropy, shares)
                bar.update(before.size)
    matrix, places, entropy, member = best.result()
    if not len(entropy):
        raise LapeError("parameter variation: no parameter changed more in one language than in another; train longer")
    if len(entropy) < wanted:
        logger.warning("parameters: %d are wanted and only %d changed unequally", wanted, len(entropy))
    cut = float(entropy.max())
    if cut == 0:
        logger.warning("parameters: all have entropy 0, so that the first are taken; take more languages, train longer")
    names = list(matrices)
    chosen = {names[number]: matrix == number for number in np.unique(matrix)}
    summary = {
        "entropy_at_cut": cut,
        "entropy_maximum": math.log(len(languages) - 1),
        "wanted": wanted,
        "selected": len(entropy),
    }
    index = {name: places[rows] for name, rows in chosen.items()}
    return Parameters(index, {name: member[rows] for name, rows in chosen.items()}, tuple(languages), matrices, summary)


class _Lowest:
    """Keep the parameters of lowest entropy among those that are added, in order of matrix and index."""

    def __init__(self, wanted: int, languages: int):
        self._wanted, self._languages = wanted, languages
        self._cut = np.float32(np.inf)  # a parameter is kept where its entropy is below
        self._parts = [
            (np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float32), np.empty((0, languages), bool))
        ]
        self._held = 0

    def add(self, matrix: int, first: int, entropy: np.ndarray, shares: np.ndarray) -> None:
        """Add a block of a matrix: entropy [n] and shares [K, n] of its parameters first ... first + n - 1."""
        rows = np.flatnonzero(entropy < self._cut)
        member = (shares[:, rows] > np.float32(1 / self._languages)).T
        self._parts.append((np.full(len(rows), matrix, np.int32), rows + first, entropy[rows], member))
        self._held += len(rows)
        if self._held > 2 * self._wanted:
            self._prune()

    def result(self) -> tuple[np.ndarray, ...]:
        """matrix int32, index int64, entropy float32 [n] and membership bool [n, K], in order of matrix and index."""
        self._prune()
        (part,) = self._parts
        return part

    def _prune(self) -> None:
        part = tuple(np.concatenate(columns) for columns in zip(*self._parts, strict=True))
        entropy = part[2]
        if len(entropy) >= self._wanted:
            self._cut = np.partition(entropy, self._wanted - 1)[self._wanted - 1]
            below = entropy < self._cut
            tied = np.flatnonzero(entropy == self._cut)[: self._wanted - below.sum()]
            below[tied] = True  # the first parameters at the cut; later ones lose against them
            part = tuple(column[below] for column in part)
        self._parts, self._held = [part], len(part[0])
