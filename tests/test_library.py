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
    *(f"lape.{name}" for name in ("artifacts.pairs", "artifacts.shipped", "display.layers", "display.tables")),
    "lape.embedded.cache",
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


# What needs an operator: counting, deactivation and likelihood.
STUDY = """
import lape, torch
ids = {"a": torch.arange(0, 64).view(4, 16), "b": torch.arange(64, 128).view(4, 16)}
statistics = {name: lape.record_statistics(model, [batch]) for name, batch in ids.items()}
neurons = lape.select_lape(statistics, ratio=0.2, quantile=0.8)
with lape.deactivate(model, neurons, "a") as firing:
    nll = lape.chunk_nll(model, ids["a"].numpy())
numbers = [int(statistics["a"].count.sum()), sum(firing.changed.values()), float(nll.sum())]
"""


def test_without_the_extension_plain_torch_takes_its_place_with_one_warning(tiny_folder, tiny_model):
    code = f"""
import logging, sys
sys.modules["lape.kernels._C"] = None  # imports as a missing module does
logging.getLogger("lape.kernels").addHandler(logging.StreamHandler(sys.stdout))
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained({str(tiny_folder)!r})
{STUDY}
print(numbers)
from lape.kernels import ops
ops._info = {{"cuda": False}}  # as an extension that was compiled without CUDA
print(ops.resolved("auto", "cuda"), ops.resolved("auto", "cpu", "cuda"), ops.resolved("auto", "cpu"))
try:
    ops.resolved("extension", "cuda")
except lape.LapeError as error:
    print("refused", error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    unbuilt, numbers, cuda, resolved, refused = run.stdout.splitlines()
    assert unbuilt.startswith("lape.kernels._C: the compiled extension is not built; build it with `pip")
    assert "built without CUDA" in cuda and refused.startswith("refused lape.kernels._C")
    assert resolved == "reference reference extension"
    expected = {"model": tiny_model}
    exec(STUDY, expected)
    assert json.loads(numbers) == pytest.approx(expected["numbers"], rel=1e-6)


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


def test_dir_and_help_show_the_public_names_and_nothing_else():
    import lape.statistics.sums  # a submodule becomes an attribute of the package

    assert dir(lape) == sorted([*lape.__all__, "__version__"])
    assert lape.__version__ == metadata.version("lape")
    lines = lape.__doc__.partition("group by group:")[2].splitlines()
    assert [name.strip() for line in lines if line[:1] == " " for name in line.rstrip(",").split(",")] == lape.__all__
    with pytest.raises(AttributeError, match="no attribute 'select'"):
        _ = lape.select
