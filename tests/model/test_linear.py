"""Linear layers: every one of every architecture, cut into parts as transformers' own attention reads them."""

import contextlib
import json

import numpy as np
import pytest
import torch
from architectures import DENSE, MIXTURES, ids, tiny
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from lape.errors import LapeError
from lape.model.architectures import ARCHITECTURES
from lape.model.ffn import find_ffn
from lape.model.fused import experts_seen
from lape.model.linear import LinearLayer, find_units, linear_layers, neuron_part

PROBED = ("nemotron", "starcoder2", "stablelm", "codegen")


def model_of(model_type: str, **settings):
    if model_type == "codegen":
        settings |= {"num_attention_heads": 4, "hidden_size": 64}
    return tiny(model_type, **settings)


def plain_linears(model) -> dict[str, int]:
    """Path in the model -> outputs, of every linear module but the LM head, by its weight's shape."""
    return {
        name: module.weight.shape[1] if isinstance(module, Conv1D) else module.weight.shape[0]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not model.get_output_embeddings()
    }


@pytest.mark.parametrize("model_type", [*ARCHITECTURES, *PROBED])
def test_every_linear_layer_but_the_lm_head_is_there_once(model_type):
    model = model_of(model_type)
    layers, ffn = linear_layers(model), find_ffn(model)
    paths = {module: path for path, module in model.named_modules()}
    found = {f"{paths[ffn.layers[layer.layer]]}.{layer.name}": layer.width for layer in layers}
    experts = {
        f"{paths[module]}.{expert}.{name}": width
        for module in (ffn.modules("experts") if model_type in MIXTURES else [])
        for expert in range(4)
        for name, width in (("gate_up_proj", 64), ("down_proj", 16))
    }
    assert found == plain_linears(model) | experts and len(found) == len(layers)
    ends = np.cumsum([layer.width for layer in layers])
    assert [layer.first for layer in layers] == [0, *ends[:-1]]
    assert [layer.layer for layer in layers] == sorted(layer.layer for layer in layers)
    assert {layer.kind for layer in layers} == {"attention", "ffn"}
    for layer in layers:
        assert (layer.kind == "attention") == ("attn" in layer.name or "attention" in layer.name)
        assert layer.width % sum(width for _, width in layer.parts) == 0
        assert LinearLayer.of(json.loads(json.dumps(layer.description()))) == layer


@pytest.mark.parametrize("model_type", [*ARCHITECTURES, *PROBED])
def test_parts_have_the_names_that_fit_their_block(model_type):
    layers = linear_layers(model_of(model_type))
    names = {
        kind: {name for layer in layers if layer.kind == kind for name, _ in layer.parts}
        for kind in ("attention", "ffn")
    }
    assert names["attention"] == ({"qkv", "o"} if model_type == "codegen" else {"q", "k", "v", "o"})
    assert names["ffn"] in ({"up", "down"}, {"gate", "up", "down"})
    per_layer = [
        sum(int((layer.part(np.arange(layer.width)) == "down").sum()) for layer in layers if layer.layer == number)
        for number in range(2)
    ]
    width = model_of(model_type).get_decoder().config.hidden_size
    assert per_layer == [width * (4 if model_type in MIXTURES else 1)] * 2


# Fused projections.

FUSED = {
    "bloom": ("bloom", {}),
    "gpt_neox": ("gpt_neox", {}),
    "gpt2": ("gpt2", {}),
    "mpt": ("mpt", {}),
    "phi3": ("phi3", {}),
    "phi3, grouped": ("phi3", {"num_attention_heads": 4, "head_dim": 4}),
    "falcon, one key": ("falcon", {"multi_query": True, "num_attention_heads": 4}),
    "falcon, a key a head": ("falcon", {"multi_query": False, "num_attention_heads": 4}),
    "falcon, grouped": ("falcon", {"new_decoder_architecture": True, "num_attention_heads": 4, "num_kv_heads": 2}),
}


def cached(model, linear: LinearLayer, part: str | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Keys and values that the first layer puts into the cache, and the logits, with a part's outputs raised."""
    raised = torch.from_numpy(linear.part(np.arange(linear.width)) == part).float()
    module = find_ffn(model).layers[0].get_submodule(linear.name)
    handle = module.register_forward_hook(lambda module, inputs, output: output + raised)
    with torch.inference_mode():
        output = model(input_ids=ids(), use_cache=True)
    handle.remove()
    cache = output.past_key_values.layers[0]
    return cache.keys, cache.values, output.logits


@pytest.mark.parametrize("case", FUSED)
def test_fused_projections_are_cut_as_the_attention_reads_them(case):
    """Raising q leaves the cached keys and values, raising k changes every key alone, raising v every value alone."""
    model_type, settings = FUSED[case]
    model = tiny(model_type, **settings)
    linear = next(layer for layer in linear_layers(model) if [name for name, _ in layer.parts] == ["q", "k", "v"])
    keys, values, logits = cached(model, linear, None)
    for part in "qkv":
        other_keys, other_values, other_logits = cached(model, linear, part)
        assert ((other_keys != keys).all(), (other_keys != keys).any()) == (part == "k", part == "k")
        assert ((other_values != values).all(), (other_values != values).any()) == (part == "v", part == "v")
        assert (other_logits != logits).any()


def fed_to_activations(model, stack: contextlib.ExitStack) -> list[torch.Tensor]:
    """A list that takes what activation modules are called with, [tokens, I], while `stack` is open."""
    seen = []

    def take(module, arguments):
        seen.append(arguments[0].flatten(0, -2))

    for module in find_ffn(model).modules("activation"):
        stack.callback(module.register_forward_pre_hook(take).remove)
    return seen


@pytest.mark.parametrize("model_type", [*DENSE, *PROBED])
def test_the_neuron_part_is_what_feeds_the_activation_function(model_type):
    model, outputs = model_of(model_type), {}
    layers, ffn = linear_layers(model), find_ffn(model)
    part = neuron_part(layers)

    def hook(linear):
        return lambda module, inputs, output: outputs.update({linear: output.flatten(0, -2)})

    with contextlib.ExitStack() as stack, torch.inference_mode():
        for linear in layers:
            module = ffn.layers[linear.layer].get_submodule(linear.name)
            stack.callback(module.register_forward_hook(hook(linear)).remove)
        fed = fed_to_activations(model, stack)
        model(input_ids=ids(), use_cache=False)
    assert len(fed) == 2
    for number, seen in enumerate(fed):
        feeding = [
            outputs[linear][:, torch.from_numpy(linear.part(np.arange(linear.width)) == part)]
            for linear in layers
            if linear.layer == number and linear.kind == "ffn"
        ]
        assert torch.equal(torch.cat(feeding, dim=1), seen)


@pytest.mark.parametrize("model_type", MIXTURES)
def test_the_gate_of_an_expert_is_what_feeds_its_activation_function(model_type):
    model, gates = tiny(model_type), []
    gate_up, down = linear_layers(model)[4:6]
    assert (gate_up.name, gate_up.parts) == ("mlp.experts.0.gate_up_proj", (("gate", 32), ("up", 32)))
    assert (down.name, down.parts) == ("mlp.experts.0.down_proj", (("down", 16),))
    assert neuron_part(linear_layers(model)) == "gate"

    def see(expert, projection, output, rows):
        if projection == "gate_up_proj":
            gates.append(output[:, torch.from_numpy(gate_up.part(np.arange(64)) == "gate")])
        return output

    with contextlib.ExitStack() as stack, torch.inference_mode():
        expected = model(input_ids=ids()).logits
        for part in find_ffn(model).parts:
            stack.enter_context(experts_seen(part, see))
        fed = fed_to_activations(model, stack)
        assert torch.equal(model(input_ids=ids()).logits, expected)
    assert len(fed) == len(gates) > 2
    assert all(torch.equal(gate, seen) for gate, seen in zip(gates, fed, strict=True))


# Unit numbers.


def test_units_are_found_where_they_are():
    layers = linear_layers(tiny("bloom"))
    units = sum(layer.width for layer in layers)
    places = [
        (layer.layer, layer.name, layer.kind, index, "qkv"[index // 8 % 3] if "query" in layer.name else None)
        for layer in layers
        for index in range(layer.width)
    ]
    chosen = np.random.default_rng(0).permutation(units)
    found = find_units(layers, chosen)
    assert list(found) == ["layer", "name", "part", "kind", "index"]
    others = {"self_attention.dense": "o", "mlp.dense_h_to_4h": "up", "mlp.dense_4h_to_h": "down"}
    for place, unit in enumerate(chosen):
        layer, name, kind, index, part = places[unit]
        expected = {"layer": layer, "name": name, "part": part or others[name], "kind": kind, "index": index}
        assert {key: column[place].item() for key, column in found.items()} == expected
    assert [len(column) for column in find_units(layers, np.zeros(0, np.int64)).values()] == [0] * 5
    for outside in (-1, units):
        with pytest.raises(LapeError, match=f"outside the model's {units}; select"):
            find_units(layers, np.array([0, outside]))


def xglm(width: int, layers: int) -> dict:
    return dict(model_type="xglm", d_model=width, ffn_dim=4 * width, num_layers=layers, attention_heads=16)


def bloom(width: int, layers: int) -> dict:
    return dict(model_type="bloom", hidden_size=width, n_layer=layers, n_head=16)


def llama(width: int, intermediate: int, layers: int) -> dict:
    shape = dict(hidden_size=width, intermediate_size=intermediate, num_hidden_layers=layers)
    return dict(model_type="llama", num_attention_heads=32, **shape)


@pytest.mark.parametrize(
    ("config", "units"),
    [
        (xglm(1024, 24), 221_184),
        (xglm(2048, 24), 442_368),
        (xglm(2048, 48), 884_736),
        (bloom(1024, 24), 221_184),
        (bloom(2048, 24), 442_368),
        (bloom(2560, 30), 691_200),
        (llama(4096, 11008, 32), 1_359_872),
        (llama(5120, 13824, 40), 2_129_920),
    ],
    ids=["XGLM-564M", "XGLM-1.7B", "XGLM-2.9B", "BLOOM-560m", "BLOOM-1b7", "BLOOM-3b", "LLaMA-2-7B", "LLaMA-2-13B"],
)
def test_the_papers_models_have_the_units_that_its_code_counts(config, units):
    """Of the models that Kojima et al. (2024) measured."""
    with torch.device("meta"):
        layers = linear_layers(AutoModelForCausalLM.from_config(AutoConfig.for_model(**config)))
    assert layers[-1].first + layers[-1].width == units
