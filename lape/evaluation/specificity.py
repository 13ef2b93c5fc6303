"""How specific a matrix of rises is: does the language suffer that is deactivated, or do all?

A cell is the rise of the mean NLL of one language (column) with another deactivated (row). Scores of one matrix can be
compared with those of another one where both have the same effect on the diagonal.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lape.evaluation.uncertainty import MINIMUM_CHUNKS, bootstrap_interval, student_reach

# Rises below this many nats per token (1% of the perplexity) count as this many, where a ratio is taken. The ratio of
# two rises that are next to nothing says nothing.
FLOOR = 0.01
# With fewer languages, those that are left out one by one say little of other languages.
MINIMUM_LANGUAGES = 4


class Score(NamedTuple):
    """A score with two 95% intervals.

    Attributes:
        value: NaN where it is not defined.
        low, high: over languages and their chunks: what other languages of the same kind could give.
        chunks_low, chunks_high: over chunks alone: what other text of the same languages could give.
    """

    value: float
    low: float
    high: float
    chunks_low: float
    chunks_high: float


class Specificity(NamedTuple):
    """The scores of one matrix of K languages.

    Attributes:
        diagonal, off_diagonal: mean rises, nats per token.
        share: of the total rise, the share on the diagonal; 1 / K where all languages suffer alike. Cells in which the
            NLL falls count as 0.
        log_ratio: mean over rows of ln(rise of the deactivated language / mean rise of the others); 0 where all suffer
            alike. Rises below `FLOOR` count as `FLOOR`.
        largest: number of rows with several cells whose largest is on the diagonal.
    """

    diagonal: float
    off_diagonal: float
    share: Score
    log_ratio: Score
    largest: int


def specificity(
    rises: Sequence[NDArray],
    sizes: Sequence[NDArray],
    draws: Sequence[NDArray[np.int64]],
    counted: NDArray[np.bool_] | None = None,
) -> Specificity:
    """Score a matrix.

    The interval over languages leaves out one language after the other, with its row and its column (jackknife), and
    takes Student's t with K - 1 degrees of freedom. Each language is read in chunks of its own, so that the errors over
    chunks are part of it. It assumes that the languages are a sample of those that one wants to speak of. The interval
    over chunks takes the error from a bootstrap, and Student's t with N - 1 degrees of freedom. Both are symmetric in
    the log ratio, and in the logit of the share. docs/coverage.md says how often they hold the truth.

    Args:
        rises: one array [K, N_e] per evaluated language e: NLL with each of K languages deactivated minus NLL of the
            baseline, summed over each of N_e chunks. Rows and columns of the matrix have the same order of languages.
        sizes: predicted tokens of the chunks of each evaluated language, [N_e].
        draws: draws of `uncertainty.resamples` for each evaluated language, [B, N_e].
        counted: bool [K, K], the cells that count; None: all. Those on the diagonal always do.

    Returns:
        the scores. Bounds over languages are NaN below `MINIMUM_LANGUAGES`, and all bounds where a language has fewer
        than `uncertainty.MINIMUM_CHUNKS` chunks.
    """
    languages = len(rises)
    counted = np.ones((languages, languages), bool) if counted is None else counted | np.eye(languages, dtype=bool)
    cells = np.stack([one.sum(axis=1) / size.sum() for one, size in zip(rises, sizes, strict=True)], axis=1)
    again = np.stack(
        [
            one[:, draw].sum(axis=2) / size[draw].sum(axis=1)
            for one, size, draw in zip(rises, sizes, draws, strict=True)
        ],
        axis=2,
    ).transpose(1, 0, 2)
    chunks, others = min(map(len, sizes)), counted.sum(axis=1) > 1
    diagonal, off_diagonal = _means(cells, counted)
    return Specificity(
        float(diagonal),
        float(off_diagonal),
        _score(_share, cells, again, counted, chunks, (_logit, _inverse_logit)),
        _score(_log_ratio, cells, again, counted, chunks, (np.asarray, np.asarray)),
        int((others & (np.argmax(np.where(counted, cells, -np.inf), axis=1) == np.arange(languages))).sum()),
    )


def _means(cells: NDArray, counted: NDArray) -> tuple[NDArray, NDArray]:
    """Mean on and off the diagonal of matrices [..., K, K]; NaN without a cell."""
    own = np.eye(len(counted), dtype=bool)
    others = counted & ~own
    with np.errstate(invalid="ignore"):
        return cells[..., own].mean(axis=-1), cells[..., others].sum(axis=-1) / np.float64(others.sum())


def _share(cells: NDArray, counted: NDArray, languages: int) -> NDArray:
    """The share of `Specificity` in a matrix of as many languages, of which some may be left out."""
    diagonal, off_diagonal = _means(np.maximum(cells, 0), counted)
    with np.errstate(divide="ignore", invalid="ignore"):
        return diagonal / (diagonal + (languages - 1) * off_diagonal)


def _log_ratio(cells: NDArray, counted: NDArray, languages: int) -> NDArray:
    own = np.eye(len(counted), dtype=bool)
    others = counted & ~own
    there = others.any(axis=1)
    mean = np.where(others, cells, 0).sum(axis=-1)[..., there] / others.sum(axis=-1)[there]
    ratios = np.log(np.maximum(cells[..., own][..., there], FLOOR) / np.maximum(mean, FLOOR))
    return ratios.mean(axis=-1) if there.any() else np.full(cells.shape[:-2], np.nan)


def _logit(share: NDArray) -> NDArray:
    share = np.clip(share, 1e-6, 1 - 1e-6)
    return np.log(share / (1 - share))


def _inverse_logit(value: NDArray) -> NDArray:
    return 1 / (1 + np.exp(-value))


def _score(
    score: Callable[[NDArray, NDArray, int], NDArray],
    cells: NDArray,
    again: NDArray,
    counted: NDArray,
    chunks: int,
    scale: tuple[Callable, Callable],
) -> Score:
    """A score of the cells [K, K] with its intervals, from the cells [B, K, K] of the resamples.

    Args:
        score: gives the score of matrices [..., K', K'], of the cells that count, and of the number K.
        cells, again, counted: see above and `specificity`.
        chunks: the smallest number of chunks of a language.
        scale: the transformation on which the intervals are symmetric, and its inverse.
    """
    there, back = scale
    languages = len(cells)
    value = float(score(cells, counted, languages))
    bounds = np.full(4, np.nan)
    if chunks >= MINIMUM_CHUNKS and not np.isnan(value):
        bounds[2:] = bootstrap_interval(there(value), there(score(again, counted, languages)), chunks)
        if languages >= MINIMUM_LANGUAGES:
            rest = [np.ix_(*[np.delete(np.arange(languages), place)] * 2) for place in range(languages)]
            without = there(np.array([score(cells[part], counted[part], languages) for part in rest]))
            spread = math.sqrt((languages - 1) * np.mean((without - without.mean()) ** 2))
            bounds[:2] = there(value) + spread * student_reach(languages)
    return Score(value, *map(float, back(bounds)))
