"""Every architecture of the table: statistics equal a plain forward hook, edits reach the logits."""

import contextlib

import numpy as np
import pytest
import torch
from architectures import DENSE, MIXTURES, ids, tiny
from op_cases import DEVICES
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lape.errors import LapeError
from lape.interventions.perturbation import Perturbation, perturbed
from lape.model import fused
from lape.model.architectures import ARCHITECTURES
from lape.model.ffn import find_ffn
from lape.model.sites import Sites
from lape.statistics.feeding import record_statistics
from lape.statistics.recording import record

# Their activation is a formula of transformers', no function that the fused kernel knows.
HOOKED = ("bloom", "gpt2", "gptj", "phi")


def hooked_activations(model) -> list[torch.Tensor]:
    """What a plain forward hook sees of each layer: [L] tensors [tokens, I]."""
    seen = []

    def hook(module, inputs, output):
        seen.append(output.flatten(0, -2).cpu())

    with contextlib.ExitStack() as stack, torch.inference_mode():
        for module in find_ffn(model).modules("activation"):
            stack.callback(module.register_forward_hook(hook).remove)
        model(input_ids=ids(model.device), use_cache=False)
    return seen


def assert_equal(statistics, layer: int, columns: slice, rows: torch.Tensor) -> None:
    """The statistics of some neurons of a layer are those of activations [rows, I]."""
    wide = rows.double()
    assert (statistics.count[layer, columns] == (rows > 0).sum(0).numpy()).all()
    assert (statistics.above[0, layer, columns] == (rows > 2**-7).sum(0).numpy()).all()
    # Sums are kept in steps of 2**-40.
    np.testing.assert_allclose(statistics.total[layer, columns], wide.sum(0).numpy(), rtol=0, atol=2.0**-40)
    np.testing.assert_allclose(statistics.square[layer, columns], wide.square().sum(0).numpy(), rtol=0, atol=2.0**-40)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("pass_", ["fused", "hooks"])
@pytest.mark.parametrize("model_type", DENSE)
def test_statistics_equal_a_plain_forward_hook(model_type, pass_, dtype, device):
    model = tiny(model_type, dtype, device)
    statistics = record_statistics(model, [ids()], thresholds=[2**-7], fused=pass_ == "fused")
    seen = hooked_activations(model)
    assert statistics.count.shape == find_ffn(model).shape == (2, seen[0].shape[-1])
    assert statistics.tokens == ids().numel() == len(seen[0])
    for layer, rows in enumerate(seen):
        assert_equal(statistics, layer, slice(None), rows)
    assert 0 < statistics.count.sum() < statistics.count.size * statistics.tokens


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("model_type", MIXTURES)
def test_statistics_of_experts_equal_a_plain_forward_hook(model_type, device):
    """The eager loop calls the activation module once for each expert that has tokens, in their order."""
    model = tiny(model_type, device=device)
    statistics = record_statistics(model, [ids()], thresholds=[2**-7])
    ffn = find_ffn(model)
    assert ffn.sites == Sites.rectangle(2, 128, experts=4) and statistics.count.shape == (2, 128)
    assert (statistics.rows.sum(axis=1) == 2 * ids().numel()).all(), "every token is routed to two experts"
    seen = iter(hooked_activations(model))
    for layer in range(2):
        for expert in range(4):
            columns = slice(32 * expert, 32 * expert + 32)
            if statistics.rows[layer, expert]:
                rows = next(seen)
                assert len(rows) == statistics.rows[layer, expert]
                assert_equal(statistics, layer, columns, rows)
            else:
                assert not statistics.count[layer, columns].any()
            assert (statistics.denominator[layer, columns] == statistics.rows[layer, expert]).all()
    assert next(seen, None) is None


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_recording_changes_no_bit_of_the_output_and_leaves_nothing_behind(model_type, device):
    model = tiny(model_type, torch.bfloat16, device)
    before = {name: dict(module.__dict__) for name, module in model.named_modules()}
    with torch.inference_mode():
        logits = model(input_ids=ids(device)).logits
        with record(model) as recorder:
            assert recorder.fused == (model_type not in HOOKED)
            assert torch.equal(model(input_ids=ids(device)).logits, logits)
    assert all(module.__dict__.keys() == before[name].keys() for name, module in model.named_modules())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_deactivating_everything_changes_logits_and_nothing_changes_no_bit(model_type, device):
    model = tiny(model_type, device=device)
    neurons = find_ffn(model).shape[1]
    with torch.inference_mode():
        logits = model(input_ids=ids(device)).logits
        with perturbed(model, Perturbation({})):
            assert torch.equal(model(input_ids=ids(device)).logits, logits)
        with perturbed(model, Perturbation({0: np.arange(neurons)}, mode="scale", values=1.0)) as firing:
            assert torch.equal(model(input_ids=ids(device)).logits, logits)
        assert firing.changed == {0: 0} and firing.rows[0] >= ids().numel()
        with perturbed(model, Perturbation({layer: np.arange(neurons) for layer in range(2)})) as firing:
            changed = model(input_ids=ids(device)).logits
        assert torch.equal(model(input_ids=ids(device)).logits, logits), "a hook was left behind"
    tokens = ids().numel() * (2 if model_type in MIXTURES else 1)
    firing.check(ids().numel())
    assert (changed - logits).abs().max() > 1e-4
    assert firing.rows == {0: tokens, 1: tokens}


@pytest.mark.parametrize(
    ("model_type", "projections"), [("llama", 2), ("phi3", 1), ("opt", 1), ("gpt2", 1), ("mixtral", 2)]
)
def test_nothing_behind_the_last_activation_is_computed(model_type, projections):
    """`projections`: those that are left out, each once a token (a mixture's down projection by two experts)."""
    model = tiny(model_type)
    decoder, neurons = model.get_decoder(), find_ffn(model).parts[0].site.width

    def operations() -> int:
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            decoder(input_ids=ids(), use_cache=False)
        return counter.get_total_flops()

    whole = operations()
    with record(model, complete=False):
        assert whole - operations() == projections * 2 * ids().numel() * 16 * neurons
    assert operations() == whole


def test_an_ffn_that_does_more_than_its_glu_is_not_fused(monkeypatch):
    model = tiny("llama")
    plain = type(model.model.layers[0].mlp).forward
    monkeypatch.setattr(type(model.model.layers[0].mlp), "forward", lambda self, x: plain(self, x) + 1)
    with record(model) as recorder:
        assert not recorder.fused
        model(input_ids=ids())
        recorder.end_batch()
    assert recorder.statistics(ids().numel()).count.any()


@pytest.mark.parametrize("name", ["silu", "gelu", "gelu_pytorch_tanh", "relu", "relu2", "quick_gelu"])
def test_activation_functions_are_known_by_what_they_compute(name):
    from transformers.activations import ACT2FN

    for dtype in (torch.float32, torch.bfloat16):
        known = fused.activation_name(ACT2FN[name], dtype, torch.device("cpu"))
        assert known == {"gelu_pytorch_tanh": "gelu_tanh"}.get(name, name)
    assert fused.activation_name(nn.Tanh(), torch.float32, torch.device("cpu")) is None


# Architectures that are not in the table.


@pytest.mark.parametrize(
    ("model_type", "paths"),
    [
        ("llama", ("mlp.act_fn", "mlp.down_proj")),
        ("gpt_neox", ("mlp.act", "mlp.dense_4h_to_h")),
        ("opt", ("activation_fn", "fc2")),
        ("phi3", ("mlp.activation_fn", "mlp.down_proj")),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_probe_finds_what_the_table_says(monkeypatch, model_type, paths, device):
    with torch.device(device):
        model = tiny(model_type)
    known = find_ffn(model)
    monkeypatch.delitem(ARCHITECTURES, model_type)
    found = find_ffn(model)
    assert [part.paths for part in found.parts] == [part.paths for part in known.parts]
    assert found.parts[0].paths[:2] == paths and found.sites == known.sites


@pytest.mark.parametrize("model_type", ["nemotron", "starcoder2", "stablelm", "codegen"])
def test_an_architecture_outside_the_table_is_probed_and_counted(model_type):
    assert model_type not in ARCHITECTURES
    model = tiny(model_type, **({"num_attention_heads": 4, "hidden_size": 64} if model_type == "codegen" else {}))
    statistics = record_statistics(model, [ids()], thresholds=[2**-7])
    for layer, rows in enumerate(hooked_activations(model)):
        assert_equal(statistics, layer, slice(None), rows)


def test_what_a_probe_cannot_find_is_refused_by_name(monkeypatch):
    model = tiny("llama")
    monkeypatch.delitem(ARCHITECTURES, "llama")
    for layer in model.model.layers:
        layer.mlp.act_fn = nn.Sequential()  # of no known class
    with pytest.raises(LapeError, match="'llama': no layer has an FFN that is understood"):
        find_ffn(model)
