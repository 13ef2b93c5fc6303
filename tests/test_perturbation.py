"""Deactivation: it fires, it proves it, it leaves nothing behind."""

import numpy as np
import pandas as pd
import pytest
import torch

from lape.errors import LapeError
from lape.ffn import find_ffn
from lape.neurons import Neurons
from lape.perturbation import deactivate


def neurons(layers=3, width=32) -> Neurons:
    table = pd.DataFrame(
        {"layer": [0, 0, 2, 2], "index": [1, 5, 0, 31], "languages": [("fr",), ("fr", "en"), ("en",), ("fr",)]}
    )
    return Neurons(table, ("en", "fr", "ja"), layers, width)


IDS = torch.arange(2, 12).view(2, 5)


@torch.inference_mode()
def test_the_set_and_nothing_else_is_zeroed(tiny_model):
    seen = {}
    with deactivate(tiny_model, neurons(), "fr") as firing:
        for layer, module in enumerate(find_ffn(tiny_model).activations):
            module.register_forward_hook(lambda module, inputs, output, layer=layer: seen.update({layer: output}))
        tiny_model(input_ids=IDS)
    assert (seen[0][..., [1, 5]] == 0).all() and (seen[2][..., 31] == 0).all()
    assert (seen[0][..., 2] != 0).all() and (seen[2][..., 0] != 0).all() and (seen[1] != 0).all()
    assert firing.neurons == {0: 2, 2: 1}
    assert firing.calls == {0: 1, 2: 1} and firing.rows == {0: 10, 2: 10}
    assert firing.changed == {0: 20, 2: 10}


@torch.inference_mode()
def test_the_whole_rest_of_the_network_is_as_if_the_weights_were_zero(tiny_model):
    with deactivate(tiny_model, neurons(), ["fr", "en"]):
        perturbed = tiny_model(input_ids=IDS).logits
    for layer, index in neurons().indices(["fr", "en"]).items():
        tiny_model.model.layers[layer].mlp.down_proj.weight[:, torch.from_numpy(index)] = 0
    torch.testing.assert_close(perturbed, tiny_model(input_ids=IDS).logits, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_an_empty_set_changes_no_bit(tiny_model):
    logits = tiny_model(input_ids=IDS).logits
    with deactivate(tiny_model, neurons(), "ja") as firing:
        assert torch.equal(tiny_model(input_ids=IDS).logits, logits)
    assert firing.neurons == {}


def test_a_perturbation_that_never_fires_fails(tiny_model):
    with (
        pytest.raises(LapeError, match="layer 0: the perturbation fired on 0 tokens"),
        deactivate(tiny_model, neurons(), "fr"),
    ):
        pass


@torch.inference_mode()
def test_a_perturbation_that_changes_nothing_fails_where_the_tokens_are_known(tiny_model):
    with torch.no_grad():
        for layer in (0, 2):
            tiny_model.model.layers[layer].mlp.gate_proj.weight.zero_()  # silu(0) = 0
    with deactivate(tiny_model, neurons(), "fr") as firing:
        tiny_model(input_ids=IDS)
    with pytest.raises(LapeError, match="changed no activation in 10 tokens"):
        firing.check(10)
    with pytest.raises(LapeError, match="fired on 10 tokens of 11"):
        firing.check(11)


def test_gradients_flow_around_the_deactivated_neurons(tiny_model):
    with deactivate(tiny_model, neurons(), "fr"):
        tiny_model(input_ids=IDS).logits.sum().backward()
    gradient = tiny_model.model.layers[0].mlp.gate_proj.weight.grad
    assert (gradient[[1, 5]] == 0).all() and (gradient[2] != 0).any()


@pytest.mark.parametrize("layers, width", [(4, 32), (3, 33)])
def test_neurons_of_another_shape_are_refused(tiny_model, layers, width):
    with pytest.raises(LapeError, match=rf"{layers} layers x {width} neurons, this one has 3 x 32"):
        with deactivate(tiny_model, neurons(layers, width), "fr"):
            pass


def test_hooks_go_when_the_block_fails(tiny_model):
    with pytest.raises(RuntimeError, match="stop"), deactivate(tiny_model, neurons(), "fr"):
        raise RuntimeError("stop")
    assert not any(module._forward_hooks for module in find_ffn(tiny_model).activations)
    assert isinstance(neurons().indices("fr")[0], np.ndarray)
