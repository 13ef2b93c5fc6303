"""The benchmark of the engine: every section of bench/README.md, printed as a table and kept as JSON.

    python -m bench.engine [--device cuda] [--sections 1 2 3]

Sections 1 to 3 share their turns, so that any of them runs all three.
"""

import argparse
import dataclasses
import gc
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from bench.average_precision import precision_rows
from bench.contexts import context_rows
from bench.edits import edit_rows
from bench.operators import operator_rows
from bench.passes import pass_rows
from bench.perplexity import perplexity_rows
from bench.report import SECTIONS, Row, table, write
from bench.selection import selection_rows
from bench.setting import FULL_PRECISION, Setting, setting
from bench.stages import stage_rows
from lape.errors import LapeError
from lape.machine.allocator import keep_freed_memory
from lape.machine.device import resolve_device


def measure(this: Setting, sections: set[int]) -> Iterator[Row]:
    """The rows of some sections, in the order in which they are measured."""
    if sections & {1, 2, 3}:
        for work in this.passes:
            yield from pass_rows(work, this)
            _release(this.device)
    if 4 in sections:
        yield from operator_rows(this)
    if 5 in sections:
        _release(this.device)
        yield from perplexity_rows(this)
    if 6 in sections:
        yield from selection_rows(this.selection, this.turns)
    if 7 in sections and this.run is not None:
        yield from stage_rows(this.run)
    if 8 in sections:
        yield from precision_rows(this.precision, this.turns)
    if 9 in sections:
        _release(this.device)
        yield from edit_rows(this)
    if 10 in sections:
        _release(this.device)
        yield from context_rows(this)


def _release(device: str) -> None:
    """Give back the memory of models that are no longer used."""
    gc.collect()
    if device != "cpu":
        torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--sections", type=int, nargs="+", choices=SECTIONS, default=SECTIONS, help="default: all")
    parser.add_argument("--smallest", action="store_true", help="tiny, one turn: checks that everything runs")
    parser.add_argument("--dtype", choices=("auto", "float32"), default="auto", help="float32: no passes in bfloat16")
    parser.add_argument("--full", action="store_true", help="section 8 on all of LLaMA-2 7B's units: 16 GB of disk")
    parser.add_argument("--output", type=Path, default=Path("bench/results"), help="folder of the JSON file")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and arguments.dtype != "auto":
        parser.error("--dtype float32: is for a CPU; leave it out with --device cuda")
    transformers_logging.set_verbosity_error()
    # Every job of the workflow keeps freed memory. Here all contenders do.
    keep_freed_memory()
    start = time.perf_counter()
    rows = []
    try:
        resolve_device(arguments.device)
        this = setting(arguments.device, arguments.smallest, arguments.dtype)
        if arguments.full:
            this = dataclasses.replace(this, precision=FULL_PRECISION)
        for row in measure(this, set(arguments.sections)):
            rows.append(row)
            print(f"{time.perf_counter() - start:4.0f} s  {row.section}. {row.what}", file=sys.stderr)
    except LapeError as error:
        raise SystemExit(f"bench: {error}") from error
    rows.sort(key=lambda row: row.section)
    path = write(arguments.output, arguments.device, time.perf_counter() - start, rows)
    print(table(rows))
    print(f"\n{time.perf_counter() - start:.0f} s; {path}")


if __name__ == "__main__":
    main()
