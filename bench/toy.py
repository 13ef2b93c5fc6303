"""Seconds of a whole toy run on one core: a model of four layers, three languages, own text.

    python -m bench.toy [--beside FOLDER] [--turns 1]

The run is `snakemake --cores 1` in a new folder, with the process and its jobs bound to one core, so that nearly all of
it is start-up. `--beside` measures another checkout in turn with this one; each uses the libraries in its own .venv, or
those that run this. It prints the seconds, and writes `results/toy.json`.
"""

import argparse
import os
import subprocess
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from bench.report import machine, versions
from bench.startup import ROOT, Checkout, helper
from bench.timing import Spread
from lape.artifacts.files import write_json
from lape.errors import LapeError


def seconds(checkout: Checkout, folder: Path) -> float:
    """Seconds on the clock of one run.

    Raises:
        LapeError: it failed.
    """
    workspace = helper("workflow_run").Workspace.create(folder, Path(checkout.python).parent, source=checkout.folder)
    helper("tiny_data").make_model(folder / "toy", num_hidden_layers=4)
    catalogue = {"tiny": {"source": "path", "path": "toy", "device": "cpu", "dtype": "float32"}}
    workspace.configure(languages=["en", "fr", "ja"], catalogue=catalogue)
    command = workspace.command("--cores", "1")
    command["env"].pop("PYTHONDONTWRITEBYTECODE", None)  # as `make` does
    began = time.monotonic()
    done = subprocess.run(**command, preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}))
    if done.returncode:
        raise LapeError(f"the run in {folder} failed:\n{done.stdout}")
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=1, help="of each checkout")
    parser.add_argument("--beside", type=Path, metavar="FOLDER", help="another checkout")
    parser.add_argument("--output", type=Path, default=Path("bench/results/toy.json"))
    arguments = parser.parse_args()
    try:
        checkouts = {"before": Checkout.of(arguments.beside)} if arguments.beside else {}
        checkouts["now"] = Checkout.of(ROOT)
        found = {name: np.empty(arguments.turns) for name in checkouts}
        for turn in range(arguments.turns):
            for name, checkout in checkouts.items():
                with tempfile.TemporaryDirectory() as folder:
                    found[name][turn] = seconds(checkout, Path(folder, "run"))
    except LapeError as error:
        raise SystemExit(f"bench: {error}") from None
    rows = {name: {"commit": checkouts[name].commit(), **asdict(Spread.of(found[name]))} for name in found}
    write_json(arguments.output, {"machine": machine("cpu"), "versions": versions(), "seconds": rows, "goal": 60})
    for name, values in found.items():
        print(f"{name}: {np.median(values):.0f} s ({values.min():.0f} to {values.max():.0f}); the goal is below 60")


if __name__ == "__main__":
    main()
