"""Deactivation: it fires, it proves it, it leaves nothing behind."""

import numpy as np
import pandas as pd
import pytest
import torch

from lape.errors import LapeError
from lape.interventions.perturbation import Perturbation, deactivate, perturbed
from lape.model.ffn import find_ffn
from lape.model.sites import Sites
from lape.neurons.table import Neurons
from lape.statistics.feeding import record_statistics
from lape.statistics.recording import record


def neurons(layers=3, width=32) -> Neurons:
    table = pd.DataFrame(
        {"layer": [0, 0, 2, 2], "index": [1, 5, 0, 31], "languages": [("fr",), ("fr", "en"), ("en",), ("fr",)]}
    )
    return Neurons(table, ("en", "fr", "ja"), Sites.rectangle(layers, width))


IDS = torch.arange(2, 12).view(2, 5)


@torch.inference_mode()
def test_the_set_and_nothing_else_is_zeroed(tiny_model):
    seen = {}
    with deactivate(tiny_model, neurons(), "fr") as firing:
        for layer, module in enumerate(find_ffn(tiny_model).modules("activation")):
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
        pytest.raises(LapeError, match="no forward pass ran inside the block; run the model inside it"),
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
    with deactivate(tiny_model, neurons(), "fr") as firing:
        tiny_model(input_ids=IDS).logits.sum().backward()
    firing.check(10)
    gradient = tiny_model.model.layers[0].mlp.gate_proj.weight.grad
    assert (gradient[[1, 5]] == 0).all() and (gradient[2] != 0).any()


@pytest.mark.parametrize("layers, width", [(4, 32), (3, 33)])
def test_neurons_of_another_shape_are_refused(tiny_model, layers, width):
    with pytest.raises(LapeError, match=rf"{layers} layers x {width} neurons, this one has 3 layers x 32"):
        with deactivate(tiny_model, neurons(layers, width), "fr"):
            pass


def test_hooks_go_when_the_block_fails(tiny_model):
    with pytest.raises(RuntimeError, match="stop"), deactivate(tiny_model, neurons(), "fr"):
        raise RuntimeError("stop")
    assert not any(module._forward_hooks for module in find_ffn(tiny_model).modules("activation"))
    assert isinstance(neurons().indices("fr")[0], np.ndarray)


def activations(model, **inputs) -> torch.Tensor:
    """[L, B, T, I], as they leave the hooks that are there."""
    seen, handles = [], []
    for module in find_ffn(model).modules("activation"):
        handles.append(module.register_forward_hook(lambda module, inputs, output: seen.append(output.clone())))
    with torch.inference_mode():
        model(input_ids=IDS, **inputs)
    for handle in handles:
        handle.remove()
    return torch.stack(seen)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("set", lambda x, v: v.expand_as(x)),
        ("max", torch.maximum),
        ("add", torch.add),
        ("scale", torch.mul),
    ],
)
def test_modes_take_a_value_for_each_neuron(tiny_model, mode, expected):
    before = activations(tiny_model)
    values = torch.tensor([0.25, -0.5])
    perturbation = Perturbation({2: np.array([3, 7])}, mode, {2: values.numpy()})
    with perturbed(tiny_model, perturbation) as firing:
        after = activations(tiny_model)
    assert torch.equal(after[:2], before[:2])
    assert torch.equal(after[2][..., [3, 7]], expected(before[2][..., [3, 7]], values))
    untouched = [j for j in range(32) if j not in (3, 7)]
    assert torch.equal(after[2][..., untouched], before[2][..., untouched])
    assert firing.changed == {2: int((after != before).sum())}


def test_each_sequence_of_a_batch_can_take_its_own_perturbation(tiny_model):
    several = [
        Perturbation({0: np.array([1])}, values=9.0),
        Perturbation({0: np.array([2]), 1: np.array([0])}, values=8.0),
    ]
    before = activations(tiny_model)
    with perturbed(tiny_model, several, choice=torch.tensor([1, -1])) as firing:
        after = activations(tiny_model)
    assert (after[0, 0, :, 2] == 8).all() and (after[1, 0, :, 0] == 8).all()
    assert torch.equal(after[0, 0, :, 1], before[0, 0, :, 1])
    assert torch.equal(after[:, 1], before[:, 1])
    assert firing.neurons == {0: 2, 1: 1} and firing.changed == {0: 5, 1: 5}


@pytest.mark.parametrize("positions", ["all", "prompt", "generated"])
def test_positions_follow_the_cache(tiny_model, positions):
    """Four tokens are generated: one pass over the prompt, three passes over a token each."""
    seen = []
    with perturbed(tiny_model, Perturbation({1: np.array([4])}, values=7.0, positions=positions)):
        module = find_ffn(tiny_model).modules("activation")[1]
        handle = module.register_forward_hook(lambda module, inputs, output: seen.append(output[..., 4].clone()))
        tiny_model.generate(IDS, max_new_tokens=4, min_new_tokens=4, do_sample=False)
        handle.remove()
    assert [tuple(values.shape) for values in seen] == [(2, 5), (2, 1), (2, 1), (2, 1)]
    edited = [bool((values == 7).all()) for values in seen]
    assert edited == {"all": [True] * 4, "prompt": [True] + [False] * 3, "generated": [False] + [True] * 3}[positions]


@pytest.mark.parametrize("positions", ["all", "prompt", "generated"])
def test_a_cache_changes_no_generated_token(tiny_model, positions):
    """With the prompt's length given, passes over the whole text edit the positions that passes over a token did."""
    edit = Perturbation({0: np.arange(8), 2: np.arange(16)}, values=3.0, positions=positions)
    settings = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False}
    plain = tiny_model.generate(IDS, **settings)
    with perturbed(tiny_model, edit, prompt_length=IDS.shape[1]):
        cached = tiny_model.generate(IDS, **settings)
        whole = tiny_model.generate(IDS, **settings, use_cache=False)
    assert torch.equal(cached, whole) and not torch.equal(cached, plain)


@torch.inference_mode()
def test_summands_may_be_in_other_layers(tiny_model):
    first = Perturbation({0: np.array([1])}, "set", {0: np.array([3.0])})
    second = Perturbation({2: np.array([5])}, "add", {2: np.array([4.0])})
    with perturbed(tiny_model, first), perturbed(tiny_model, second):
        expected = tiny_model(input_ids=IDS).logits
    for both in (first + second, second + first):
        with perturbed(tiny_model, both) as firing:
            assert torch.equal(tiny_model(input_ids=IDS).logits, expected)
        assert firing.neurons == firing.calls == {0: 1, 2: 1}


def test_summands_act_together_each_at_its_positions(tiny_model):
    both = Perturbation({1: np.array([4])}) + Perturbation({1: np.array([5])}, "set", 7.0, positions="generated")
    seen = []
    with perturbed(tiny_model, [Perturbation({}), both], choice=torch.tensor([1, 0])) as firing:
        module = find_ffn(tiny_model).modules("activation")[1]
        handle = module.register_forward_hook(lambda module, inputs, output: seen.append(output[..., [4, 5]].clone()))
        tiny_model.generate(IDS, max_new_tokens=3, min_new_tokens=3, do_sample=False)
        handle.remove()
    first, *following = seen
    assert (first[0, :, 0] == 0).all() and (first[0, :, 1] != 7).all()
    assert all(values[0].tolist() == [[0, 7]] for values in following)
    assert not any((values[1] == 7).any() or (values[1] == 0).any() for values in seen)
    assert firing.neurons == {1: 2} and firing.changed == {1: 5 + 2 * 2}


def compiled(model, what: str):
    """Compile a model in one of the ways of its users; returns what they call."""
    if what == "decoder":
        model.get_decoder().compile(backend="aot_eager")
    if what == "layers":
        for layer in model.get_decoder().layers:
            layer.compile(backend="aot_eager")
    if what == "forward":
        model.forward = torch.compile(model.forward, backend="aot_eager")
    return torch.compile(model, backend="aot_eager") if what == "wrapper" else model


@pytest.mark.parametrize("what", ["decoder", "layers", "forward", "wrapper"])
def test_a_model_that_was_compiled_and_called_is_perturbed(tiny_model, what):
    plain = Perturbation({0: np.arange(8), 2: np.arange(4)})
    with torch.inference_mode():
        unperturbed = tiny_model(input_ids=IDS).logits
        with perturbed(tiny_model, plain):
            expected = tiny_model(input_ids=IDS).logits
        call = compiled(tiny_model, what)
        torch.testing.assert_close(call(input_ids=IDS).logits, unperturbed, rtol=1e-5, atol=1e-5)
        with perturbed(tiny_model, plain) as firing:
            found = call(input_ids=IDS).logits
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        assert firing.rows == {0: 10, 2: 10}
        torch.testing.assert_close(call(input_ids=IDS).logits, unperturbed, rtol=1e-5, atol=1e-5)


def test_a_perturbation_that_nothing_runs_is_no_silent_no_op(tiny_model):
    with pytest.raises(LapeError, match="no forward pass ran inside the block"):
        with perturbed(tiny_model, Perturbation({0: np.arange(8)})):
            pass
    with perturbed(tiny_model, Perturbation({})):
        pass


@pytest.mark.parametrize(
    ("perturbation", "message"),
    [
        (Perturbation({}, "clamp"), "mode: 'clamp' is unknown; use one of set, max, add, scale"),
        (
            Perturbation({3: np.array([0])}),
            "layer 4 .index 3. or one of its neurons is outside the model's 3 layers x 32",
        ),
        (Perturbation({0: np.array([32])}), "layer 1 .index 0. or one of its neurons is outside"),
        (Perturbation({0: np.array([-1])}), "layer 1 .index 0. or one of its neurons is outside"),
        (Perturbation({}, positions="answer"), "positions: 'answer' is unknown; use one of all, prompt, generated"),
        (Perturbation({0: np.array([1, 1])}), "a neuron of layer 1 .index 0. comes twice"),
        (
            Perturbation({0: np.array([1])}) + Perturbation({0: np.array([2, 1])}),
            "a neuron of layer 1 .index 0. comes twice",
        ),
    ],
)
def test_bad_perturbations_are_refused(tiny_model, perturbation, message):
    with pytest.raises(LapeError, match=message), perturbed(tiny_model, perturbation):
        pass


@torch.inference_mode()
def test_recording_and_perturbing_at_once(tiny_model):
    """Inside a perturbation what flows is recorded, edits included; the other way round is refused."""
    with perturbed(tiny_model, Perturbation({1: np.array([4])}, values=7.0)) as firing:
        statistics = record_statistics(tiny_model, [IDS], thresholds=[6.9])
        with record(tiny_model) as recorder:
            assert not recorder.fused
    assert statistics.above[0, 1, 4] == statistics.count[1, 4] == 10 and firing.rows == {1: 10}
    with record(tiny_model):
        for again in (record(tiny_model), perturbed(tiny_model, Perturbation({1: np.array([4])}))):
            with pytest.raises(LapeError, match="recorded or perturbed already"), again:
                pass
    with record(tiny_model, fused=False) as recorder, perturbed(tiny_model, Perturbation({1: np.array([4])})) as firing:
        tiny_model(input_ids=IDS)
        recorder.end_batch()
    assert firing.changed == {1: 10} and recorder.statistics(10).count.any()


def test_a_perturbation_entered_in_inference_mode_serves_outside_it(tiny_model):
    context = perturbed(tiny_model, Perturbation({1: np.array([4])}))
    with torch.inference_mode():
        firing = context.__enter__()
    tiny_model(input_ids=IDS).logits.sum().backward()
    context.__exit__(None, None, None)
    assert firing.changed == {1: 10} and firing.calls == {1: 1}
