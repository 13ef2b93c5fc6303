"""Section 6: selecting neurons from counts of a large model; `python -m bench.selection L I K` is one measurement."""

import json
import sys
import time

import numpy as np

from bench.memory import in_fresh_process, peak_bytes
from bench.report import Row
from bench.timing import Spread
from lape.neurons.selection import select_lape
from lape.statistics.sums import ActivationStatistics


def selection_rows(shape: tuple[int, int, int], turns: int) -> list[Row]:
    """Seconds and peak memory of `select_lape` on (layers, neurons, languages), in a process of its own per turn."""
    sizes = [str(size) for size in shape]
    runs = [in_fresh_process("bench.selection", *sizes) for _ in range(turns)]
    what = "select_lape " + " x ".join(sizes)
    seconds = Spread.of(np.array([run["seconds"] for run in runs]))
    peak = Spread.of(np.array([run["peak"] for run in runs]) / 1e9)
    note = f"whole process; {runs[0]['before'] / 1e9:.2f} GB before, with torch and its input"
    return [
        Row(6, what, seconds, "s", ("under", 2.0), f"{runs[0]['selected']} neurons"),
        Row(6, f"{what}, peak memory", peak, "GB", ("under", 1.5), note),
    ]


def synthetic(layers: int, neurons: int, languages: int) -> dict[str, ActivationStatistics]:
    """Counts over 100 million tokens. Most neurons fire alike in every language, and some far more often in one."""
    generator = np.random.default_rng(0)
    tokens = 100_000_000
    shape = (layers, neurons)
    common = generator.beta(0.5, 2.0, shape)
    special = generator.integers(0, 50 * languages, shape)
    statistics = {}
    for language in range(languages):
        rate = np.where(special == language, 0.95, common * generator.uniform(0.8, 1.0, shape))
        value = ActivationStatistics.of_counts((rate * tokens).astype(np.int64), tokens)
        for sums in (value.totals, value.squares):
            sums[:] = 1  # zeros that were never written would take no memory, unlike sums read from a file
        statistics[f"language {language}"] = value
    return statistics


def main() -> None:
    statistics = synthetic(*map(int, sys.argv[1:4]))
    before = peak_bytes()
    start = time.perf_counter()
    neurons = select_lape(statistics)
    seconds = time.perf_counter() - start
    found = {"seconds": seconds, "before": before, "peak": peak_bytes(), "selected": len(neurons.table)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
