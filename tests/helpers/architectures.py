"""A tiny model of every architecture of the table."""

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lape.model.architectures import ARCHITECTURES

# Names of one quantity differ between configurations; each takes those that it knows.
SIZES = dict(
    vocab_size=100,
    hidden_size=16,
    n_embd=16,
    d_model=16,
    word_embed_proj_dim=16,
    intermediate_size=32,
    moe_intermediate_size=32,
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
    num_local_experts=4,
    num_experts=4,
    num_experts_per_tok=2,
    pad_token_id=0,
    bos_token_id=0,
    eos_token_id=1,
    rotary_dim=4,
)
MIXTURES = [name for name, architecture in ARCHITECTURES.items() if architecture.experts]
DENSE = [name for name in ARCHITECTURES if name not in MIXTURES]


def tiny(model_type: str, dtype: torch.dtype = torch.float32, device: str = "cpu", **settings):
    sizes = SIZES | settings
    if model_type not in ("falcon", "gpt2", "bloom", "mpt", "opt", "xglm", "gptj", "gpt_neox", "phi"):
        sizes["head_dim"] = 8
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **sizes)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype, experts_implementation="eager").eval()
    return model if device == "cpu" else model.to(device)


def ids(device: str = "cpu") -> torch.Tensor:
    return torch.randint(2, 100, (3, 7), generator=torch.Generator().manual_seed(0)).to(device)
