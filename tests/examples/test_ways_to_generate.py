"""Each way to generate of examples/ways_to_generate.py, with neurons deactivated and steered, on the tiny model."""

import importlib.util

import pandas as pd
import pytest
import torch
from tiny_data import ROOT
from transformers import AutoTokenizer

import lape
from lape.model.sites import Sites

SPEC = importlib.util.spec_from_file_location("ways_to_generate", ROOT / "examples" / "ways_to_generate.py")
ways = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(ways)

PROMPT = "la maison près de cette rivière"
NEURONS = lape.Neurons(
    pd.DataFrame({"layer": [0] * 8 + [2] * 8, "index": [*range(8), *range(8)], "languages": [("fr",)] * 16}),
    ("fr",),
    Sites.rectangle(3, 32),
)
ALL = (*ways.WAYS, ways.through_a_chat_template)


@pytest.fixture
def tokenizer(tiny_folder):
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    tokenizer.chat_template = "{% for m in messages %}<s>{{ m['content'] }}{% endfor %}"
    return tokenizer


def without_neurons(model):
    """Set to zero the weights that read the neurons, which is what a deactivation amounts to."""
    for layer, index in NEURONS.indices("fr").items():
        model.model.layers[layer].mlp.down_proj.weight.data[:, torch.from_numpy(index)] = 0
    return model


@pytest.mark.parametrize("way", ALL, ids=lambda way: way.__name__)
def test_a_way_to_generate_is_perturbed(tiny_model, tokenizer, way):
    ids = torch.arange(2, 66).view(4, 16)
    values = lape.steering_values(NEURONS, {"fr": lape.record_statistics(tiny_model, ids)})
    plain = way(tiny_model, tokenizer, PROMPT)
    with lape.deactivate(tiny_model, NEURONS, "fr") as off:
        deactivated = way(tiny_model, tokenizer, PROMPT)
    with lape.steer(tiny_model, values, "fr", dose="set-all-3-1") as on:
        steered = way(tiny_model, tokenizer, PROMPT)
    assert way(tiny_model, tokenizer, PROMPT) == plain
    assert off.calls == on.calls and off.calls[0] > 1
    assert all(off.changed.values()) and all(on.changed.values())
    assert deactivated != plain != steered
    assert way(without_neurons(tiny_model), tokenizer, PROMPT) == deactivated


@pytest.mark.parametrize("load", ways.LOADED, ids=lambda load: load.__name__)
def test_a_model_that_transformers_places_or_quantises_is_perturbed(tiny_folder, load):
    if load is ways.in_8_bits:
        pytest.importorskip("bitsandbytes", reason="int8 needs bitsandbytes")
    model, tokenizer = load(str(tiny_folder))
    statistics = {"fr": lape.record_statistics(model, [PROMPT], tokenizer)}
    plain = ways.by_greedy_search(model, tokenizer, PROMPT)
    with lape.deactivate(model, NEURONS, "fr") as off:
        ways.by_greedy_search(model, tokenizer, PROMPT)
    with lape.steer(model, lape.steering_values(NEURONS, statistics), "fr", dose="set-all-3-1") as on:
        steered = ways.by_greedy_search(model, tokenizer, PROMPT)
    assert all(off.changed.values()) and all(on.changed.values()) and steered != plain
