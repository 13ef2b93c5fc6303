"""Every architecture of the table: statistics equal a plain forward hook, edits reach the logits."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lape.errors import LapeError
from lape.ffn import FFN_MODULES, find_ffn
from lape.perturbation import zeroed
from lape.statistics import record_statistics

# Names of one quantity differ between configurations; each takes those that it knows.
SIZES = dict(
    vocab_size=100,
    hidden_size=16,
    n_embd=16,
    d_model=16,
    word_embed_proj_dim=16,
    intermediate_size=32,
    ffn_dim=32,
    num_hidden_layers=2,
    num_layers=2,
    n_layer=2,
    n_layers=2,
    num_attention_heads=2,
    attention_heads=2,
    n_head=2,
    n_heads=2,
    num_key_value_heads=2,
    pad_token_id=0,
    bos_token_id=0,
    eos_token_id=1,
    rotary_dim=4,
)


def tiny(model_type: str, dtype: torch.dtype = torch.float32):
    sizes = dict(SIZES)
    if model_type not in ("falcon", "gpt2", "bloom", "mpt", "opt", "xglm", "gptj", "gpt_neox", "phi"):
        sizes["head_dim"] = 8
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **sizes), dtype=dtype).eval()


def ids() -> torch.Tensor:
    return torch.randint(2, 100, (3, 7), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("model_type", FFN_MODULES)
def test_statistics_equal_a_plain_forward_hook(model_type, dtype):
    model = tiny(model_type, dtype)
    statistics = record_statistics(model, [ids()])
    seen = []
    handles = [
        module.register_forward_hook(lambda module, inputs, output: seen.append(output.flatten(0, -2)))
        for module in find_ffn(model).activations
    ]
    with torch.inference_mode():
        model(input_ids=ids(), use_cache=False)
    for handle in handles:
        handle.remove()
    assert statistics.count.shape == (2, find_ffn(model).neurons_per_layer) == (2, seen[0].shape[-1])
    assert statistics.tokens == ids().numel() == len(seen[0])
    for layer, rows in enumerate(seen):
        assert (statistics.count[layer] == (rows > 0).sum(0).numpy()).all()
        assert (statistics.total[layer] == rows.sum(0, dtype=torch.float64).numpy()).all()
    assert 0 < statistics.count.sum() < statistics.count.size * statistics.tokens


@pytest.mark.parametrize("model_type", FFN_MODULES)
def test_deactivating_everything_changes_logits_and_nothing_changes_no_bit(model_type):
    model = tiny(model_type)
    neurons = find_ffn(model).neurons_per_layer
    with torch.inference_mode():
        logits = model(input_ids=ids()).logits
        with zeroed(model, {}):
            assert torch.equal(model(input_ids=ids()).logits, logits)
        with zeroed(model, {layer: torch.arange(neurons).numpy() for layer in range(2)}) as firing:
            changed = model(input_ids=ids()).logits
        assert torch.equal(model(input_ids=ids()).logits, logits), "a hook was left behind"
    firing.check(ids().numel())
    assert (changed - logits).abs().max() > 1e-4
    assert firing.rows == {0: ids().numel(), 1: ids().numel()}


def test_an_unknown_architecture_is_refused_by_name():
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("codegen", **SIZES | {"n_head": 4, "n_embd": 32}))
    with pytest.raises(LapeError, match=r"'codegen'.*lape/ffn.py"):
        find_ffn(model)
