"""The Python API as a notebook uses it: no Snakemake, no files."""

import subprocess
import sys
from pathlib import Path

import torch

import lape


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


def test_importing_costs_nothing_and_names_hide_no_module():
    code = "import sys, lape; assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    modules = {path.stem for path in Path(lape.__file__).parent.iterdir()}
    assert not modules & set(lape.__all__)
    for name in lape.__all__:
        assert getattr(lape, name).__doc__
    assert set(lape.__all__) <= set(dir(lape))
