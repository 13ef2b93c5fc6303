"""Perplexity: equal to the model's own loss, for heads with a scale or a soft cap too, block by block."""

import math

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lape.errors import LapeError
from lape.evaluation import perplexity as module
from lape.evaluation.perplexity import chunk_nll, likelihood_measures

CHUNKS = np.random.default_rng(1).integers(2, 100, (5, 11), dtype=np.int32)
SIZES = dict(
    vocab_size=100, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=2, head_dim=8, ffn_dim=32, word_embed_proj_dim=16, initializer_range=0.5, pad_token_id=0,
    bos_token_id=0, eos_token_id=1,
)  # fmt: skip
HEADS = {
    "llama": {},
    "gemma2": {"final_logit_softcapping": 2.0},
    "cohere": {"logit_scale": 0.3},
    "granite": {"logits_scaling": 4.0},
    "opt": {},  # its causal LM calls the decoder inside the base model
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2},  # its output has more fields than the hidden state
}


def tiny(model_type: str):
    sizes = {key: value for key, value in SIZES.items() if not (model_type in ("opt", "gpt2") and key == "head_dim")}
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **sizes | HEADS[model_type])).eval()


@torch.inference_mode()
@pytest.mark.parametrize("backend", ["extension", "reference"])
@pytest.mark.parametrize("model_type", HEADS)
def test_equals_the_models_own_loss(model_type, backend, monkeypatch):
    monkeypatch.setattr(module, "LOGITS_IN_MEMORY", 300)  # three positions at once
    model = tiny(model_type)
    expected = []
    for row in torch.from_numpy(CHUNKS.astype(np.int64)):
        logits = model(input_ids=row[None]).logits[0, :-1].double()
        expected.append(torch.nn.functional.cross_entropy(logits, row[1:], reduction="sum").item())
    np.testing.assert_allclose(chunk_nll(model, CHUNKS, batch_size=2, backend=backend), expected, rtol=1e-5)
    # The model is whole again afterwards.
    assert model(input_ids=torch.ones(1, 4, dtype=torch.int64)).logits.shape == (1, 4, 100)


@torch.inference_mode()
def test_batch_size_changes_no_more_than_rounding():
    model = tiny("llama")
    np.testing.assert_allclose(chunk_nll(model, CHUNKS, 5), chunk_nll(model, CHUNKS, 1), rtol=1e-5)


def test_logits_of_a_whole_batch_never_exist(monkeypatch):
    monkeypatch.setattr(module, "LOGITS_IN_MEMORY", 400)
    model = tiny("llama")
    rows = []
    model.lm_head.register_forward_hook(lambda module, inputs, output: rows.append(output[..., 0].numel()))
    chunk_nll(model, CHUNKS, batch_size=5)
    assert max(rows) == 4 and sum(rows) == CHUNKS.shape[0] * (CHUNKS.shape[1] - 1)


def test_nan_is_refused():
    model = tiny("llama")
    with torch.no_grad():
        model.lm_head.weight[3] = torch.nan
    with pytest.raises(LapeError, match="NaN or infinite"):
        chunk_nll(model, CHUNKS)


def test_the_three_measures():
    measures = likelihood_measures(nll=20.0, tokens=10, text_bytes=40)
    assert measures["nll"] == 2.0
    assert measures["ppl"] == pytest.approx(math.e**2)
    assert measures["bits_per_byte"] == pytest.approx(20 / math.log(2) / 40)
