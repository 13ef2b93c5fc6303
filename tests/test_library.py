"""The Python API as a notebook uses it: no Snakemake, no files."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

import lape
from lape.cli import COMMANDS

# What takes a second or so to import.
HEAVY = ("torch", "pandas", "transformers", "scipy", "matplotlib", "pyarrow", "datasets", "accelerate")
# Every command's help, the Snakefile, and every table start with these.
LIGHT = (
    "lape",
    "lape.cli",
    "lape.config",
    "lape.errors",
    *(f"lape.artifacts.{name}" for name in ("code", "files", "headers", "hub_errors", "kept_parts", "manifest")),
    *(f"lape.machine.{name}" for name in ("allocator", "device", "gpus", "memory", "progress", "ranks")),
    "lape.model.architectures",
    "lape.model.checkpoint",
    "lape.generation.settings",
    "lape.neurons.set_names",
    "lape.items.registry",
    *(f"lape.workflow.{name}" for name in ("flags", "inputs", "names", "repository", "resources", "targets")),
    "lape.paper",
    "lape.text.file_patterns",
    # The others take the choices of an option from a module that computes.
    *(f"lape.commands.{name}" for name in COMMANDS if name not in ("table", "figure", "score", "select", "stability")),
)


def batches(low: int, high: int):
    """Token ids of a made-up language: its own part of the vocabulary."""
    generator = torch.Generator().manual_seed(low)
    return [torch.randint(low, high, (4, 16), generator=generator) for _ in range(3)]


def test_from_a_model_to_a_perturbed_one(tiny_model):
    texts = {"a": batches(2, 130), "b": batches(130, 260), "c": batches(260, 390)}
    statistics = {language: lape.record_statistics(tiny_model, ids) for language, ids in texts.items()}
    neurons = lape.select_lape(statistics, ratio=0.2, quantile=0.8)
    assert len(neurons.table) == round(3 * 32 * 0.2)
    chunks = texts["a"][0].numpy()
    before = lape.chunk_nll(tiny_model, chunks)
    with lape.deactivate(tiny_model, neurons, "a") as firing:
        after = lape.chunk_nll(tiny_model, chunks)
    assert sum(firing.neurons.values()) == neurons.counts()["a"] > 0
    assert (after != before).all()
    assert (lape.chunk_nll(tiny_model, chunks) == before).all()


@pytest.fixture(scope="module")
def imported() -> dict[str, list[str]]:
    """What the light modules import of the heavy ones, each what those before it had not; one process for all."""
    code = f"""
import importlib, json, sys
found = {{}}
for name in {LIGHT!r}:
    before = set(sys.modules)
    importlib.import_module(name)
    found[name] = sorted(({set(HEAVY)!r} & set(sys.modules)) - before)
print(json.dumps(found))
"""
    return json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_imports_nothing_heavy(imported, module):
    assert imported[module] == []


def test_names_hide_no_module_and_each_says_what_it_is():
    modules = {path.stem for path in Path(lape.__file__).parent.iterdir()}
    assert not modules & set(lape.__all__)
    for name in lape.__all__:
        assert getattr(lape, name).__doc__


def test_dir_shows_the_public_names_and_nothing_else():
    import lape.statistics.sums  # a submodule becomes an attribute of the package

    assert {name for name in dir(lape) if not name.startswith("__")} == set(lape.__all__)
    assert {"__all__", "__doc__", "__version__"} <= set(dir(lape))
    assert lape.__version__ == metadata.version("lape")
    with pytest.raises(AttributeError, match="no attribute 'select'"):
        _ = lape.select
