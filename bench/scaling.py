"""How each stage's time and memory grow: with tokens, neurons, languages, shards and jobs.

    python -m bench.scaling [--smallest] [--only statistics selection ...]

Every measurement is a process of its own: `python -m bench.scaling --one STAGE AXIS VALUE`. The exponent of a row is
the slope of log seconds over log value between its two largest values. There the constant cost of a process weighs
least.
"""

import argparse
import itertools
import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import yaml
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from bench.memory import in_fresh_process, peak_bytes
from bench.models import Shape, Work
from bench.report import machine, versions
from bench.selection import synthetic
from lape.artifacts.files import write_json
from lape.evaluation.perplexity import chunk_nll
from lape.generation.decoding import sampled_answers
from lape.kernels import ops
from lape.machine.allocator import keep_freed_memory
from lape.model.batches import shard_batches, token_batches
from lape.neurons.selection import select_lape
from lape.statistics.recording import counting
from lape.text.tokens import pack

ROOT = Path(__file__).resolve().parent.parent
# A model that is small enough for 64 times as many tokens to take seconds.
_SETTINGS = dict(hidden_size=64, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4, vocab_size=1024)
_MODEL = Work(Shape("small LLaMA", "llama", _SETTINGS), "float32", 8, 256)
_TOKENS = 8192
# (stage, axis) -> the values that are measured. A dry run's values are languages of ten models.
AXES = {
    ("tokens", "tokens"): [16 * _TOKENS * factor for factor in (1, 4, 16, 64)],
    ("statistics", "tokens"): [_TOKENS * factor for factor in (1, 4, 16, 64)],
    ("statistics", "shards"): [1, 4, 16, 64],
    ("perplexity", "tokens"): [_TOKENS * factor for factor in (1, 4, 16, 64)],
    ("selection", "neurons"): [layers * 28_672 for layers in (5, 10, 20, 40, 80)],
    ("selection", "languages"): [2, 7, 25, 50, 100],
    ("generation", "answers"): [8, 32, 128],
    ("average precision", "units"): [1024, 4096, 16_384, 65_536],
    ("dry run", "languages"): [10, 30, 100],
}
# Values for a quick check that everything runs.
SMALLEST = {axis: [values[0], 2 * values[0]] for axis, values in AXES.items()} | {("dry run", "languages"): [2, 4]}
_MODELS = 10


def tokens(axis: str, value: int) -> dict:
    """Tokenise documents of 200 words, which arrive one by one, and pack their tokens."""
    words = [f"w{number}" for number in range(_SETTINGS["vocab_size"])]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token=words[0]))
    tokenizer.pre_tokenizer = Whitespace()
    draw = random.Random(0)
    # A few documents are repeated, so that making them takes no time.
    texts = itertools.cycle([" ".join(draw.choices(words, k=200)) for _ in range(64)])
    shape = dict(documents=value, budget=value, chunk_length=_MODEL.length, vocab_size=len(words))
    settings = dict(bos=None, seed=0, allow_fewer=False, excerpts=False, label="scaling")
    with tempfile.TemporaryDirectory() as folder:
        return _measured(lambda: pack(texts, tokenizer, Path(folder, "train.npy"), **shape, **settings))


def statistics(axis: str, value: int) -> dict:
    """Count activations on a file of tokens, shard by shard, as the command does."""
    tokens, shards = (value, 4) if axis == "tokens" else (16 * _TOKENS, value)
    model = _MODEL.model("cpu")
    with _chunks(tokens) as chunks, counting(model) as count, tempfile.TemporaryDirectory() as folder:
        lots = shard_batches(len(chunks), _MODEL.batch, shards)
        count(token_batches(chunks, lots[0][:1]))  # warms up

        def run() -> None:
            whole = None
            for number, slices in enumerate(lots):
                shard = count(token_batches(chunks, slices))
                shard.save(Path(folder, f"{number}.npz"))
                whole = shard if whole is None else whole + shard

        return _measured(run)


def perplexity(axis: str, value: int) -> dict:
    """The likelihood of a file of tokens."""
    model = _MODEL.model("cpu")
    with _chunks(value) as chunks:
        chunk_nll(model, chunks[: _MODEL.batch], _MODEL.batch)
        return _measured(lambda: chunk_nll(model, chunks, _MODEL.batch))


def selection(axis: str, value: int) -> dict:
    """Select by LAPE on synthetic counts: up to LLaMA-2 70B's neurons in 7 languages, or 16 x 4,096 in up to 100."""
    shape = (value // 28_672, 28_672, 7) if axis == "neurons" else (16, 4096, value)
    counts = synthetic(*shape)
    return _measured(lambda: select_lape(counts), calls=3)


def generation(axis: str, value: int) -> dict:
    """Sample texts of 64 tokens from BOS alone."""
    model, tokenizer = _MODEL.model("cpu"), Tokenizer(WordLevel({}, unk_token=None))
    settings = dict(max_new_tokens=64, batch_size=8, stop=[])
    return _measured(lambda: sampled_answers(model, tokenizer, [[1]] * value, range(value), **settings))


def average_precision(axis: str, value: int) -> dict:
    """Compute the average precision of units on 500 sentences of each of 5 languages, read from a file in parts."""
    labels, part = torch.arange(500) % 5, torch.randn(1024, 500, generator=torch.Generator().manual_seed(0))

    def run() -> None:
        for _ in range(0, value, len(part)):
            ops.average_precision(part, labels, 5)

    return _measured(run)


def dry_run(axis: str, value: int) -> dict:
    """Let Snakemake plan the default target for ten models in a number of languages."""
    names = [f"l{number:03}" for number in range(value)]
    catalogue = {f"m{number}": {"source": "hub", "hub": f"o/m{number}", "revision": "r"} for number in range(_MODELS)}
    sections = dict(corpus={"source": "hub"}, translation={"source": names[0]}, generation={"prompts": ["plain"]})
    experiments = {"deactivation_by_model": {"more_models": []}, "answers_steered": {"more_models": []}}
    config = dict(run="many", models=list(catalogue), languages=names, catalogue=catalogue, experiments=experiments)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "many.yaml")
        file.write_text(yaml.safe_dump({**config, **sections}))
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--dry-run", "--quiet"]
        command += ["rules", "--cores", "1", "--directory", folder, "--configfile", str(file)]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
        seconds = time.perf_counter() - start
    jobs = re.search(r"^total +(\d+)$", done.stdout + done.stderr, re.MULTILINE)
    if done.returncode or jobs is None:
        raise SystemExit((done.stdout + done.stderr).strip().splitlines()[-1])
    return {"seconds": seconds, "jobs": int(jobs[1])}


STAGES: dict[str, Callable[[str, int], dict]] = {
    "tokens": tokens,
    "statistics": statistics,
    "perplexity": perplexity,
    "selection": selection,
    "generation": generation,
    "average precision": average_precision,
    "dry run": dry_run,
}


@contextmanager
def _chunks(tokens: int) -> Iterator[np.ndarray]:
    """Random tokens in a file that is mapped into memory, as the tokens of a job are."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "train.npy")
        shape = (tokens // _MODEL.length, _MODEL.length)
        np.save(path, np.random.default_rng(0).integers(0, _SETTINGS["vocab_size"], shape, np.int32))
        yield np.load(path, mmap_mode="r")


def _measured(function: Callable[[], object], calls: int = 1) -> dict:
    """Seconds of the fastest call, and the peak memory of the process, which includes Python, torch and the input."""
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return {"seconds": min(seconds), "peak": peak_bytes()}


def rows(axes: dict, only: list[str]) -> Iterator[dict]:
    """One row per stage and axis: its values, and the seconds, peak memory and jobs at each value."""
    for (stage, axis), values in axes.items():
        if only and stage not in only:
            continue
        found = [in_fresh_process("bench.scaling", "--one", stage, axis, str(value)) for value in values]
        row = {"stage": stage, "axis": axis, "values": values}
        row |= {key: [one[key] for one in found] for key in found[0]}
        yield row | {"exponent": exponent(values, row["seconds"])}


def exponent(values: list[int], seconds: list[float]) -> float:
    """Slope of log seconds over log value between the two largest values."""
    return math.log(seconds[-1] / seconds[-2]) / math.log(values[-1] / values[-2])


def markdown(found: list[dict]) -> str:
    """The table of bench/README.md."""
    lines = ["| stage | grows | seconds | peak memory | exponent |", "|---|---|---|---|---|"]
    for row in found:
        grows = f"{row['values'][0]:,} to {row['values'][-1]:,} {row['axis']}"
        if "jobs" in row:
            grows += f" of {_MODELS} models, {row['jobs'][0]:,} to {row['jobs'][-1]:,} jobs"
        seconds = f"{row['seconds'][0]:.2g} to {row['seconds'][-1]:.2g}"
        peak = f"{row['peak'][0] / 1e9:.2f} to {row['peak'][-1] / 1e9:.2f} GB" if "peak" in row else ""
        lines.append(f"| {row['stage']} | {grows} | {seconds} | {peak} | {row['exponent']:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smallest", action="store_true", help="two values an axis: checks that everything runs")
    parser.add_argument("--only", nargs="+", choices=STAGES, default=[], help="stages; default: all")
    parser.add_argument("--one", nargs=3, metavar=("STAGE", "AXIS", "VALUE"), help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=Path("bench/results/scaling.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # every job of the workflow does so
    if arguments.one:
        stage, axis, value = arguments.one
        print(json.dumps(STAGES[stage](axis, int(value))))
        return
    found = []
    for row in rows(SMALLEST if arguments.smallest else AXES, arguments.only):
        found.append(row)
        print(f"{row['stage']} by {row['axis']}: exponent {row['exponent']:.2f}", file=sys.stderr)
    write_json(arguments.output, {"machine": machine("cpu"), "versions": versions(), "rows": found})
    print(markdown(found))


if __name__ == "__main__":
    main()
