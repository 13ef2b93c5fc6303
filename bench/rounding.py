"""How many activations change sides between two ways to count the same tokens: `bench.rounding [MODEL TOKENS]`.

MODEL is a run's model.json, and TOKENS is a train.json of that model. Without them the model has the shape of Gemma 3
270M with random weights, and the tokens are random. In float32 and in bfloat16, every number of threads and every batch
size is compared with one thread and one chunk per pass. bfloat16 is compared with float32. Where there is a GPU, it is
compared with the CPU.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from bench.models import GEMMA, Work
from lape.artifacts.files import read_array
from lape.model.batches import shard_batches, token_batches
from lape.model.loading import load_model
from lape.statistics.feeding import record_statistics
from lape.statistics.sums import ActivationStatistics


def counted(model, chunks: np.ndarray, threads: int, batch_size: int) -> ActivationStatistics:
    """Statistics with a number of threads and a number of chunks per pass."""
    torch.set_num_threads(threads)
    (slices,) = shard_batches(len(chunks), batch_size, 1)
    return record_statistics(model, token_batches(chunks, slices))


def show(what: str, one: ActivationStatistics, other: ActivationStatistics) -> None:
    """Print a line: differing counts per million activations, share of neurons that differ, largest difference."""
    difference = np.abs(one.count - other.count)
    flips = difference.sum() / one.denominator.sum() * 1e6
    print(f"{what:<42} {flips:10.3f} {(difference > 0).mean():10.4%} {difference.max():6d}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("tokens", type=Path, nargs="?")
    parser.add_argument("--chunks", type=int, default=16, help="of the tokens, the first ones")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 2, 4, 8])
    arguments = parser.parse_args()
    if arguments.tokens is None:
        work = Work(GEMMA, "float32", arguments.chunks, 512)
        model, chunks = work.model("cpu"), work.chunks()
    else:
        model, _ = load_model(arguments.model)
        chunks = read_array(arguments.tokens.with_suffix(".npy"), mmap=True)[: arguments.chunks]
    print(f"{chunks.size} tokens{'':30} flips/million    neurons    most")
    base = {}
    for dtype in ("float32", "bfloat16"):
        model = model.to(getattr(torch, dtype))
        base[dtype] = counted(model, chunks, 1, 1)
        for threads in arguments.threads:
            for size in arguments.batch_sizes:
                again = counted(model, chunks, threads, size)
                show(f"{dtype}, {threads} threads, {size} chunks a pass", base[dtype], again)
        if torch.cuda.is_available():
            for size in arguments.batch_sizes:
                again = counted(model.to("cuda"), chunks, 1, size)
                show(f"{dtype}, GPU, {size} chunks a pass", base[dtype], again)
            model = model.to("cpu")
    show("bfloat16 beside float32", base["float32"], base["bfloat16"])


if __name__ == "__main__":
    main()
