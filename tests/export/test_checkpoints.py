"""Checkpoints with languages switched in their weights: their logits, their files, and other tools that read them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from architectures import ids, tiny
from played_run import make_run
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM

from lape.errors import LapeError
from lape.export.edits import edits_of
from lape.export.files import INDEX, write_files
from lape.export.inverse import inputs_of
from lape.interventions.overwriting import UnitPerturbation, overwritten
from lape.interventions.perturbation import Perturbation, perturbed
from lape.model.architectures import ARCHITECTURES
from lape.model.ffn import find_ffn
from lape.model.linear import linear_layers
from lape.model.loading import load_names

PROMPT = "la maison près de cette rivière"
# Both models compute with one implementation of experts, as lape's loader has it.
LOADED = {"experts_implementation": "eager"}


@torch.inference_mode()
def logits(model: nn.Module) -> torch.Tensor:
    return model(input_ids=ids(), use_cache=False).logits


def exported(model: nn.Module, change, folder: Path, **saved) -> tuple[torch.Tensor, torch.Tensor]:
    """Save a model, export it with a change, and return the logits of the changed model and of the export."""
    model.save_pretrained(folder / "source", **saved)
    names = load_names(folder / "source", False)
    (folder / "export").mkdir()
    write_files(folder / "source", folder / "export", names, edits_of(names, change))
    begin = overwritten if isinstance(change, UnitPerturbation) else perturbed
    with begin(model, change):
        wanted = logits(model)
    loaded = AutoModelForCausalLM.from_pretrained(folder / "export", **LOADED).eval()
    assert loaded.dtype == model.dtype
    return wanted, logits(loaded)


def some_neurons(model: nn.Module, number: int = 9) -> dict[int, np.ndarray]:
    """Neurons of every layer; in a mixture of several experts."""
    widths = np.diff(find_ffn(model).sites.starts)
    random = np.random.default_rng(0)
    return {layer: np.sort(random.choice(width, number, replace=False)) for layer, width in enumerate(widths)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_a_switched_off_model_is_a_checkpoint(model_type, dtype, tmp_path):
    model = tiny(model_type, dtype)
    plain = logits(model)
    wanted, found = exported(model, Perturbation(some_neurons(model)), tmp_path)
    assert torch.equal(found, wanted) and not torch.equal(found, plain)
