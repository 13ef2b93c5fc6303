"""Training of some neurons: what it changes, and that it changes nothing else."""

import numpy as np
import pandas as pd
import pytest
import torch
from architectures import ids, tiny
from torch import nn
from transformers import Trainer, TrainingArguments

from lape.errors import LapeError
from lape.interventions.tuning import trainable
from lape.model.ffn import find_ffn
from lape.neurons.table import Neurons

# Neurons of layer 1, from 0; in a mixture of its experts 1 and 3.
PLACES, WIDTH = [3, 17, 20], 32
# Type -> the end of a parameter's name -> (axis of the neurons, the parts that lie side by side in it).
WEIGHTS = {
    "llama": {"gate_proj.weight": (0, 1), "up_proj.weight": (0, 1), "down_proj.weight": (1, 1)},
    "phi3": {"gate_up_proj.weight": (0, 2), "down_proj.weight": (1, 1)},
    "gpt2": {"c_fc.weight": (1, 1), "c_fc.bias": (0, 1), "mlp.c_proj.weight": (0, 1)},
    "opt": {"fc1.weight": (0, 1), "fc1.bias": (0, 1), "fc2.weight": (1, 1)},
    "mixtral": {"experts.gate_up_proj": (1, 2), "experts.down_proj": (2, 1)},
}


def neurons_of(model: nn.Module) -> Neurons:
    sites = find_ffn(model).sites
    table = {"layer": 1, "index": PLACES, "languages": [("fr",)] * len(PLACES)}
    if sites.has_blocks:
        table["expert"] = [1, 3, 3]
    return Neurons(pd.DataFrame(table), ("fr", "ja"), sites)


def own(model_type: str, name: str, weight: torch.Tensor) -> torch.Tensor:
    """Which elements of a parameter belong to the neurons, bool of its shape."""
    mask = torch.zeros(weight.shape, dtype=torch.bool)
    for end, (axis, parts) in WEIGHTS[model_type].items():
        if ".1." in name and name.endswith(end):
            for part in range(parts):
                for expert, place in zip((1, 3, 3), PLACES, strict=True):
                    one = mask[expert] if model_type == "mixtral" else mask
                    one.select(axis - (model_type == "mixtral"), place + part * WIDTH)[...] = True
    return mask


def train(model: nn.Module, folder, **settings) -> None:
    examples = [{"input_ids": row, "labels": row} for row in ids()]
    told = {"max_steps": 3, "learning_rate": 0.01, "report_to": [], "save_strategy": "no", "use_cpu": True}
    Trainer(
        model, TrainingArguments(folder, **told | {"disable_tqdm": True} | settings), train_dataset=examples
    ).train()


@pytest.mark.parametrize("model_type", WEIGHTS)
def test_trainer_changes_the_neurons_and_no_other_bit(model_type, tmp_path):
    model = tiny(model_type)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    with trainable(model, neurons_of(model), "fr") as record:
        train(model, tmp_path)
    assert all(weight.requires_grad and not weight._backward_hooks for weight in model.parameters())
    elements = {}
    for name, weight in model.named_parameters():
        changed, wanted = weight.view(torch.int32) != before[name].view(torch.int32), own(model_type, name, weight)
        assert not (changed & ~wanted).any(), name
        if wanted.any():
            elements[name] = int(wanted.sum())
            assert changed.any(), name
    assert record.elements == elements and len(elements) == len(WEIGHTS[model_type]) and record.neurons == {1: 3}
    assert "3 neurons are trained, in layers 2 (from 1)" in str(record)


def test_what_was_frozen_is_frozen_again(tiny_model):
    tiny_model.lm_head.requires_grad_(False)
    with trainable(tiny_model, neurons_of(tiny_model), "fr"):
        assert sum(weight.requires_grad for weight in tiny_model.parameters()) == 3
    assert [name for name, weight in tiny_model.named_parameters() if not weight.requires_grad] == ["lm_head.weight"]


def test_weight_decay_is_refused_before_it_changes_anything(tmp_path):
    model = tiny("llama")
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    with pytest.raises(LapeError, match=r"layers\.1\.mlp\.gate_proj\.weight: a weight decay of 0\.1 would"):
        with trainable(model, neurons_of(model), "fr"):
            train(model, tmp_path, weight_decay=0.1)
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    torch.optim.AdamW(model.parameters()).step()  # no block, no refusal


def test_an_optimizer_that_changes_other_elements_is_found_out():
    model = tiny("llama")
    with pytest.raises(LapeError, match=r"down_proj\.weight: weights of other neurons changed in the block"):
        with trainable(model, neurons_of(model), "fr"), torch.no_grad():
            model.model.layers[1].mlp.down_proj.weight[0, PLACES[0]] = 9.0
            model.model.layers[1].mlp.down_proj.weight[0, PLACES[0] + 1] = 9.0


def test_a_set_without_neurons_is_refused():
    model = tiny("llama")
    for sets, message in (("ja", "the set ja is empty; name a language that has neurons"), ("de", "de")):
        with pytest.raises(LapeError, match=message), trainable(model, neurons_of(model), sets):
            pass
    assert np.all([weight.requires_grad for weight in model.parameters()])
