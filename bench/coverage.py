"""How often the intervals hold the truth, and how often the tests find what is not there, by simulation.

    python -m bench.coverage [--samples N]

Prints the tables of docs/coverage.md. Each simulation has as many chunks, languages and draws as the default run, and
data that are symmetric or skewed. Seeds are fixed, so that the same number of samples gives the same tables.
"""

import argparse
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lape.evaluation import uncertainty
from lape.evaluation.specificity import Specificity, specificity
from lape.items.claims.verdict import mean_interval, outer_thirds

CHUNKS, LANGUAGES, TOKENS, LAYERS = 16, 7, 95, 18
_RESAMPLES = 300

# Noise of mean zero and standard deviation one.
NOISE: dict[str, Callable[[np.random.Generator, tuple[int, ...]], NDArray]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "heavy tails (Student's t, 4)": lambda rng, shape: rng.standard_t(4, shape) / np.sqrt(2),
    "skewed to the right (gamma, 1)": lambda rng, shape: rng.gamma(1, 1, shape) - 1,
    "skewed to the left (gamma, 1)": lambda rng, shape: 1 - rng.gamma(1, 1, shape),
    "strongly skewed (lognormal, 1)": lambda rng, shape: (
        (rng.lognormal(0, 1, shape) - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e)
    ),
}


def changes(noise: str, samples: int, chunks: int = CHUNKS) -> dict[str, float]:
    """`uncertainty.change_interval`: a rise of 1 nat per token that differs between chunks."""
    rng, held = np.random.default_rng(1), 0
    sizes, draws = np.full(chunks, float(TOKENS)), uncertainty.resamples(chunks, 2000, 0)
    for _ in range(samples):
        baseline = TOKENS * (3 + 0.3 * rng.standard_normal(chunks))
        perturbed = baseline + TOKENS * (1 + 0.5 * NOISE[noise](rng, (chunks,)))
        low, high = uncertainty.change_interval(perturbed, baseline, sizes, draws)
        held += low <= 1 <= high
    return {"held": held / samples}


def stars(noise: str, samples: int, chunks: int = CHUNKS) -> dict[str, float]:
    """`uncertainty.sign_flip_test` at 0.05 where the mean difference is zero: how often it finds a rise, and a fall."""
    differences = NOISE[noise](np.random.default_rng(2), (samples, chunks))
    found = uncertainty.sign_flip_test(differences) < 0.05
    rises = differences.sum(axis=1) > 0
    return {"rise": (found & rises).mean(), "fall": (found & ~rises).mean()}


def draws(noise: str, samples: int, number: int, chunks: int = CHUNKS) -> dict[str, float]:
    """`uncertainty.over_draws` where a set is as strong as the mean draw: draws differ by as much as chunks do."""
    rng, sizes = np.random.default_rng(3), np.full(chunks, float(TOKENS))
    rise = fall = star = first = held = 0
    for _ in range(samples):
        own = 1 + 0.5 * NOISE[noise](rng, (chunks,)) + 0.1 * rng.standard_normal(chunks)
        # The set and a draw share how hard a chunk is; the draws differ from one another, and in each chunk.
        each = own + 0.2 * NOISE[noise](rng, (number, 1)) + 0.2 * NOISE[noise](rng, (chunks,))
        each = each + 0.1 * rng.standard_normal((number, chunks))
        found = uncertainty.over_draws(TOKENS * own, TOKENS * each, sizes)
        rise += found.p_value < 0.05 and found.difference > 0
        fall += found.p_value < 0.05 and found.difference < 0
        star += found.p_value < 0.05 and found.rank == 1
        held += found.low <= 0 <= found.high
        others = rng.standard_normal(number + 1)  # the set is one more draw
        first += (1 + (others[1:] >= others[0]).sum()) / (number + 1) <= 1 / (number + 1)
    counts = {"held": held, "rise": rise, "fall": fall, "rise and rank 1": star, "rank 1": first}
    return {name: count / samples for name, count in counts.items()}


def scores(specific: bool, samples: int, languages: int = LANGUAGES) -> dict[str, float]:
    """`specificity`: languages drawn anew in each sample, where all suffer alike, or where the diagonal stands out."""
    rng, mean = np.random.default_rng(4), _mean_log_ratio(specific, languages)
    on, off = (1.8, 0.05) if specific else (1.0, 1.0)
    truth = on / (on + (languages - 1) * off), mean
    held = np.zeros(4)
    for _ in range(samples):
        cells = _matrix(rng, specific, languages)
        hardness = rng.gamma(4, 0.25, (languages, CHUNKS))
        rises = [
            TOKENS * (cells[:, [e]] * hardness[e] + 0.02 * rng.standard_normal((languages, CHUNKS)))
            for e in range(languages)
        ]
        again = [rng.integers(0, CHUNKS, (_RESAMPLES, CHUNKS)) for _ in range(languages)]
        found = specificity(rises, [np.full(CHUNKS, float(TOKENS))] * languages, again)
        here = _exactly(cells)
        for place, name in enumerate(("share", "log_ratio")):
            score = getattr(found, name)
            held[2 * place] += score.low <= truth[place] <= score.high
            held[2 * place + 1] += score.chunks_low <= getattr(here, name).value <= score.chunks_high
    names = ("share, languages", "share, chunks", "log ratio, languages", "log ratio, chunks")
    return dict(zip(names, held / samples, strict=True))


def _matrix(rng: np.random.Generator, specific: bool, languages: int) -> NDArray:
    """True rises of some languages, drawn from those that there could be."""
    if not specific:
        return rng.gamma(2, 0.05, (languages, 1)) * np.exp(0.4 * rng.standard_normal((1, languages)))
    cells = rng.lognormal(np.log(0.05) - 0.5, 1, (languages, languages))
    cells[np.arange(languages), np.arange(languages)] = rng.gamma(2, 0.9, languages)
    return cells


def _mean_log_ratio(specific: bool, languages: int) -> float:
    rng = np.random.default_rng(5)
    return float(np.mean([_exactly(_matrix(rng, specific, languages)).log_ratio.value for _ in range(4000)]))


def _exactly(cells: NDArray) -> Specificity:
    """The scores of a matrix of true rises."""
    places = range(len(cells))
    nothing = np.zeros((1, 1), np.int64)
    return specificity([cells[:, [e]] for e in places], [np.ones(1) for _ in places], [nothing for _ in places])


def claims(noise: str, samples: int) -> dict[str, float]:
    """The mean over languages of `claims`, and its permutation of layers, where each layer has as much by chance."""
    rng = np.random.default_rng(6)
    values = 1 + NOISE[noise](rng, (samples, LANGUAGES))
    bounds = [mean_interval(each)[1:] for each in values]
    held, rise = sum(low <= 1 <= high for low, high in bounds), sum(low > 1 for low, _ in bounds)
    layers = rng.poisson(20 * np.exp(0.7 * NOISE[noise](rng, (samples // 4, LAYERS)).clip(-4, 4))).astype(float)
    found = sum(outer_thirds(each)[2] < 0.05 for each in layers)
    return {"mean held": held / samples, "mean found above": rise / samples, "U found": found / len(layers)}


def tables(samples: int) -> dict[str, pd.DataFrame]:
    """The tables of docs/coverage.md, by their titles."""
    kinds = list(NOISE)
    return {
        f"The interval of a change, {CHUNKS} chunks": pd.DataFrame({kind: changes(kind, samples) for kind in kinds}).T,
        f"The stars of a matrix, {CHUNKS} chunks": pd.DataFrame({kind: stars(kind, samples) for kind in kinds}).T,
        **{
            f"A set beside {number} draws of its control": pd.DataFrame(
                {kind: draws(kind, samples, number) for kind in kinds}
            ).T
            for number in (10, 20)
        },
        f"The scores of a matrix of {LANGUAGES} languages": pd.DataFrame(
            {name: scores(specific, samples) for name, specific in (("all suffer alike", False), ("specific", True))}
        ).T,
        f"Claims: {LANGUAGES} languages, {LAYERS} layers": pd.DataFrame(
            {kind: claims(kind, samples) for kind in kinds}
        ).T,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=2000, help="samples of each simulation")
    for title, frame in tables(parser.parse_args().samples).items():
        print(f"## {title}\n\n{frame.map('{:.3f}'.format).to_markdown(disable_numparse=True)}\n")


if __name__ == "__main__":
    main()
