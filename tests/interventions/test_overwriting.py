"""Overwriting units: it fires at every position of every architecture, it proves it, it leaves nothing behind."""

import numpy as np
import pytest
import torch
from architectures import MIXTURES, ids, tiny
from op_cases import DEVICES

from lape.errors import LapeError
from lape.interventions.overwriting import UnitPerturbation, overwritten
from lape.interventions.perturbation import Perturbation, perturbed
from lape.model.architectures import ARCHITECTURES
from lape.model.ffn import find_ffn
from lape.model.linear import linear_layers

TOKENS = ids().numel()


def of_units(units: dict[tuple[int, str], dict[int, float]]) -> UnitPerturbation:
    """From (layer, name) -> index -> value."""
    return UnitPerturbation(
        {
            place: (np.array(list(values), np.int64), np.array(list(values.values()), np.float32))
            for place, values in units.items()
        }
    )


def outputs(model, name: str, **inputs) -> list[torch.Tensor]:
    """What a linear layer of decoder layer 0 gives behind all other hooks, one tensor a pass."""
    seen = []
    module = find_ffn(model).layers[0].get_submodule(name)
    handle = module.register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
    with torch.inference_mode():
        model(**({"input_ids": ids()} | inputs))
    handle.remove()
    return seen


@pytest.mark.parametrize("backend", ["extension", "reference"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_the_units_and_nothing_else_have_the_values_at_every_position(dtype, backend):
    model = tiny("llama", dtype)
    (before,) = outputs(model, "mlp.up_proj")
    units = of_units({(0, "mlp.up_proj"): {3: 0.5, 31: -2.0}, (1, "self_attn.v_proj"): {0: 1.0}})
    assert units.size == 3
    with overwritten(model, units, backend) as firing:
        (after,) = outputs(model, "mlp.up_proj")
    assert (after[..., 3] == 0.5).all() and (after[..., 31] == -2).all()
    others = [index for index in range(32) if index not in (3, 31)]
    assert torch.equal(after[..., others], before[..., others])
    places = {(0, "mlp.up_proj"), (1, "self_attn.v_proj")}
    assert firing.neurons == {(0, "mlp.up_proj"): 2, (1, "self_attn.v_proj"): 1}
    assert firing.calls == dict.fromkeys(places, 1) and firing.rows == dict.fromkeys(places, TOKENS)
    assert firing.changed == {(0, "mlp.up_proj"): 2 * TOKENS, (1, "self_attn.v_proj"): TOKENS}


@pytest.mark.parametrize("model_type", ["llama", "gpt2"])
@torch.inference_mode()
def test_the_rest_of_the_network_is_as_if_weights_and_bias_gave_the_value(model_type):
    model, name = tiny(model_type), {"llama": "mlp.up_proj", "gpt2": "mlp.c_fc"}[model_type]
    with overwritten(model, of_units({(0, name): {2: 0.75}, (1, name): {5: -0.5}})):
        found = model(input_ids=ids()).logits
    for layer, index, value in ((0, 2, 0.75), (1, 5, -0.5)):
        module = find_ffn(model).layers[layer].get_submodule(name)
        weight = module.weight if model_type == "llama" else module.weight.T
        weight[index] = 0
        if module.bias is None:
            module.bias = torch.nn.Parameter(torch.zeros(len(weight)), requires_grad=False)
        module.bias[index] = value
    torch.testing.assert_close(found, model(input_ids=ids()).logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("model_type", ARCHITECTURES)
@torch.inference_mode()
def test_every_linear_layer_of_every_architecture_fires_and_is_left_as_it_was(model_type, device):
    model = tiny(model_type, device=device)
    layers = linear_layers(model)
    logits = model(input_ids=ids(device)).logits
    before = {name: dict(module.__dict__) for name, module in model.named_modules()}
    # The last unit alone of each, so that the attention still has something to attend to.
    units = of_units({(linear.layer, linear.name): {linear.width - 1: 3.0} for linear in layers})
    with overwritten(model, units) as firing:
        changed = model(input_ids=ids(device)).logits
    firing.check(TOKENS)
    assert (changed - logits).abs().max() > 1e-4
    assert torch.equal(model(input_ids=ids(device)).logits, logits)
    assert all(module.__dict__.keys() == before[name].keys() for name, module in model.named_modules())
    assert sum(firing.neurons.values()) == units.size == len(layers)
    dense = {(linear.layer, linear.name) for linear in layers if "experts" not in linear.name}
    assert all(firing.rows[place] == firing.changed[place] == TOKENS for place in dense)
    if model_type in MIXTURES:
        experts = {(layer, f"mlp.experts.{name}") for layer in range(2) for name in ("gate_up_proj", "down_proj")}
        assert set(firing.rows) == dense | experts
        assert all(firing.rows[place] == firing.changed[place] == 2 * TOKENS for place in experts)


@pytest.mark.parametrize("model_type", MIXTURES)
@torch.inference_mode()
def test_one_expert_is_overwritten_as_if_its_weights_gave_nothing(model_type):
    model = tiny(model_type)
    every = dict.fromkeys(range(16), 0.0)
    with overwritten(model, of_units({(1, "mlp.experts.2.down_proj"): every})) as firing:
        found = model(input_ids=ids()).logits
    firing.check(TOKENS)
    model.model.layers[1].mlp.experts.down_proj[2] = 0
    assert torch.equal(found, model(input_ids=ids()).logits)


@torch.inference_mode()
def test_nothing_changes_no_bit():
    model = tiny("llama")
    logits = model(input_ids=ids()).logits
    with overwritten(model, of_units({(0, "mlp.up_proj"): {}})) as firing:
        assert torch.equal(model(input_ids=ids()).logits, logits)
    assert firing.neurons == {}
    firing.check(TOKENS)


@pytest.mark.parametrize("model_type", ["llama", "mixtral"])
def test_every_generated_token_is_overwritten_too(model_type):
    """The prompt's seven tokens in one pass, then a pass for each new token but the last."""
    model = tiny(model_type)
    prompt = {"input_ids": ids(), "attention_mask": torch.ones_like(ids())}
    settings = dict(max_new_tokens=4, min_new_tokens=4, do_sample=False)
    plain = model.generate(**prompt, **settings)
    with overwritten(model, of_units({(1, "self_attn.o_proj"): dict.fromkeys(range(16), 5.0)})) as firing:
        found = model.generate(**prompt, **settings)
    assert firing.calls == {(1, "self_attn.o_proj"): 4}
    assert firing.rows == {(1, "self_attn.o_proj"): TOKENS + 3 * 3}
    firing.check(TOKENS + 9)
    assert not torch.equal(found, plain)
    assert torch.equal(model.generate(**prompt, **settings), plain)


def test_gradients_are_those_around_the_overwritten_units():
    model = tiny("llama")
    with overwritten(model, of_units({(0, "mlp.gate_proj"): {1: 0.5, 5: 0.0}})) as firing:
        model(input_ids=ids()).logits.sum().backward()
    firing.check(TOKENS)
    gradient = model.model.layers[0].mlp.gate_proj.weight.grad
    assert (gradient[[1, 5]] == 0).all() and (gradient[2] != 0).any()


@torch.inference_mode()
def test_a_compiled_decoder_is_traced_anew():
    model = tiny("llama")
    units = of_units({(0, "mlp.up_proj"): {3: 5.0}})
    with overwritten(model, units):
        expected = model(input_ids=ids()).logits
    model.get_decoder().compile(backend="eager")
    plain = model(input_ids=ids()).logits
    with overwritten(model, units) as firing:
        found = model(input_ids=ids()).logits
    firing.check(TOKENS)
    torch.testing.assert_close(found, expected)
    assert not torch.equal(found, plain)
    assert torch.equal(model(input_ids=ids()).logits, plain)
    torch.compiler.reset()


@torch.inference_mode()
def test_what_did_not_fire_fails_by_name():
    model = tiny("llama")
    with overwritten(model, of_units({(1, "mlp.up_proj"): {0: 1.0}})) as firing:
        pass
    with pytest.raises(LapeError, match="no forward pass ran inside the block"):
        firing.check()
    with pytest.raises(
        LapeError, match=r"layer 2 .index 1.: the perturbation fired on 0 tokens .* bypasses mlp.up_proj: load it"
    ):
        firing.check(TOKENS)
    with overwritten(model, of_units({(1, "mlp.up_proj"): {0: 1.0}})) as firing:
        model(input_ids=ids())
    with pytest.raises(LapeError, match=f"fired on {TOKENS} tokens of 22"):
        firing.check(22)
    model.model.layers[1].mlp.up_proj.weight[0] = 0
    with overwritten(model, of_units({(1, "mlp.up_proj"): {0: 0.0}})) as firing:
        model(input_ids=ids())
    with pytest.raises(LapeError, match="changed no activation"):
        firing.check(TOKENS)


@pytest.mark.parametrize(
    ("place", "index", "values", "message"),
    [
        ((2, "mlp.up_proj"), [0], [1.0], "layer 3 .index 2., mlp.up_proj: the model has no such linear layer"),
        ((0, "mlp.fc1"), [0], [1.0], "layer 1 .index 0., mlp.fc1: the model has no such linear layer"),
        ((0, "mlp.up_proj"), [32], [1.0], "a unit is outside its 32"),
        ((0, "mlp.up_proj"), [-1], [1.0], "a unit is outside its 32"),
        ((0, "mlp.up_proj"), [1, 1], [1.0, 2.0], "a unit comes twice"),
        ((0, "mlp.up_proj"), [1, 2], [1.0], "no integers with a value for each"),
        ((0, "mlp.up_proj"), [1.0], [1.0], "no integers with a value for each"),
        ((0, "mlp.up_proj"), [1, 2], [1.0, np.nan], "layer 1 .index 0., mlp.up_proj: a value is NaN or infinite"),
        ((0, "mlp.up_proj"), [1, 2], [-np.inf, 1.0], "layer 1 .index 0., mlp.up_proj: a value is NaN or infinite"),
    ],
)
def test_units_that_the_model_does_not_have_are_refused(place, index, values, message):
    model = tiny("llama")
    with pytest.raises(LapeError, match=message):
        with overwritten(model, UnitPerturbation({place: (np.array(index), np.array(values))})):
            pass
    assert not any(module._forward_hooks for module in model.modules())


def test_hooks_go_when_the_block_fails_and_blocks_do_not_mix():
    model = tiny("mixtral")
    units = of_units({(0, "self_attn.q_proj"): {0: 1.0}, (0, "mlp.experts.1.gate_up_proj"): {0: 1.0}})
    with pytest.raises(RuntimeError, match="stop"), overwritten(model, units):
        raise RuntimeError("stop")
    assert not any(module._forward_hooks or "forward" in module.__dict__ for module in model.modules())
    with perturbed(model, Perturbation({0: np.array([1])})):
        with pytest.raises(LapeError, match="recorded or perturbed already"), overwritten(model, units):
            pass
        model(input_ids=ids())
