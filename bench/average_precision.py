"""Section 8: average precision of units; `python -m bench.average_precision HEADER THREADS` is one measurement."""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from bench.memory import in_fresh_process, peak_bytes
from bench.report import Row, installed
from bench.setting import FULL_PRECISION
from bench.timing import Spread, alternate
from lape import cli
from lape.artifacts.files import write_header
from lape.expert_units.blocks import BLOCK
from lape.kernels import ops
from lape.model.linear import LinearLayer

_SAMPLE, _PEER_SAMPLE = 1000, 10  # units that lape and scikit-learn score per turn


def precision_rows(shape: tuple[int, int, int], turns: int) -> Iterator[Row]:
    """Rows for `shape` (units, sentences, languages): one thread over scikit-learn, then the whole command on files."""
    units, sentences, languages = shape
    yield _over_scikit_learn(sentences, languages, turns)
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        header = _synthetic(Path(folder), *shape)
        found = in_fresh_process("bench.average_precision", str(header), str(threads))
    what = f"lape average_precision, {units:,} units x {sentences:,} sentences x {languages} languages"
    note = f"{threads} threads, whole process, from files of {found['bytes'] / 1e9:.1f} GB whose hashes are checked"
    limit = 300 * units / FULL_PRECISION[0]  # five minutes for all units of LLaMA-2 7B
    yield Row(8, what, Spread.of(np.array([found["seconds"]])), "s", ("under", limit), note)
    yield Row(8, f"{what}, peak memory", Spread.of(np.array([found["peak"] / 1e9])), "GB", ("under", 1.0))


def _over_scikit_learn(sentences: int, languages: int, turns: int) -> Row:
    """Speed per unit on one core. scikit-learn scores the response for each language; lape the negated one as well."""
    labels, responses = _labels(sentences, languages), _drawn(_SAMPLE, sentences)
    own = [labels == k for k in range(languages)]
    what = f"average_precision over scikit-learn, {sentences:,} sentences x {languages} languages"
    goal = ("at least", 50.0)
    if installed("scikit-learn") is None:
        return Row(8, what, None, goal=goal, note="not installed")
    from sklearn.metrics import average_precision_score

    def scikit_learn() -> np.ndarray:
        return np.array([[average_precision_score(mine, row) for mine in own] for row in responses[:_PEER_SAMPLE]])

    ours = partial(ops.average_precision, torch.from_numpy(responses), torch.from_numpy(labels), languages)
    np.testing.assert_allclose(ours()[0, :_PEER_SAMPLE].numpy(), scikit_learn(), rtol=0, atol=1e-12)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = alternate({"ours": ours, "scikit-learn": scikit_learn}, turns, "cpu")
    torch.set_num_threads(threads)
    one, peer = seconds["ours"] / _SAMPLE, seconds["scikit-learn"] / _PEER_SAMPLE
    note = f"one thread; {np.median(one) * 1e6:.1f} us a unit, both directions; {np.median(peer) * 1e6:,.0f} us for one"
    return Row(8, what, Spread.of(peer / one), goal=goal, note=note)


def _labels(sentences: int, languages: int) -> np.ndarray:
    return np.random.default_rng(0).permutation(np.arange(sentences) % languages)


def _drawn(units: int, sentences: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((units, sentences), np.float32)


def _synthetic(folder: Path, units: int, sentences: int, languages: int) -> Path:
    """Write a responses artifact of random numbers, block by block, and return the path of its header."""
    header = folder / "responses.json"
    blocks = folder / "responses.blocks"
    blocks.mkdir()
    files = []
    for number, first in enumerate(range(0, sentences, BLOCK)):
        files.append(blocks / f"{number}.npy")
        np.save(
            files[-1], np.random.default_rng(first).standard_normal((units, min(BLOCK, sentences - first)), np.float32)
        )
    column, labels = np.arange(sentences), _labels(sentences, languages)
    names = [f"language{k}" for k in range(languages)]
    table = pd.DataFrame({"block": column // BLOCK, "column": column % BLOCK, "language": np.array(names)[labels]})
    table.assign(number=column, tokens=30).to_csv(header.with_suffix(".tsv"), sep="\t", index=False)
    write_header(
        header,
        "responses",
        model="synthetic",
        model_revision="0",
        languages=names,
        units=units,
        neuron_part="up",
        linear_layers=[LinearLayer(0, "up", "ffn", 0, units, (("up", units),)).description()],
        parameters={},
        inputs=[],
        outputs=[header.with_suffix(".tsv"), *files],
    )
    return header


def main() -> None:
    header, threads = sys.argv[1:3]
    files = Path(header).with_suffix(".blocks").iterdir()
    read = sum(file.stat().st_size for file in files)
    start = time.perf_counter()
    output = Path(header).with_name("average_precision.npy")
    if cli.main(["average_precision", "--responses", header, "--threads", threads, "--output", str(output)]):
        sys.exit(1)
    print(json.dumps({"seconds": time.perf_counter() - start, "peak": peak_bytes(), "bytes": read}))


if __name__ == "__main__":
    main()
