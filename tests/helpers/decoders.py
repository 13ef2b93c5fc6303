"""A tiny model of every causal LM type of transformers, and what lape makes of it: docs/architectures.md.

`make format` writes the table anew where types or verdicts changed; tests/model/test_every_decoder.py compares it.
"""

import contextlib
import io
import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lape.errors import LapeError
from lape.interventions.perturbation import Perturbation, perturbed
from lape.model.ffn import find_ffn
from lape.model.model_sites import FFN, ModelSite
from lape.statistics.feeding import record_statistics

PAGE = Path(__file__).resolve().parents[2] / "docs" / "architectures.md"
_SECONDS = 300  # that one type may take
_LARGEST = 8e7  # parameters
_HIDDEN = 32

# Names of one quantity differ between configurations. Each takes those that it knows.
SIZES = dict(
    vocab_size=128,
    vocab_size_per_layer_input=128,
    bos_token_id=0,
    pad_token_id=0,
    eos_token_id=1,
    initializer_range=0.3,
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "mamba_d_ssm"), _HIDDEN),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), 64),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "intermediate_size_mlp"), 48),
    **dict.fromkeys(("decoder_ffn_dim", "encoder_ffn_dim", "feed_forward_size"), 48),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "shared_intermediate_size"), 24),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"), 4),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "mamba_n_heads", "mamba_num_heads", "linear_num_value_heads"), 4),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "laurel_rank", "rotary_dim"), 4),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_experts_per_tok", "linear_num_key_heads"), 2),
    **dict.fromkeys(("head_dim", "kv_lora_rank", "q_lora_rank", "v_head_dim", "hidden_size_per_layer_input"), 8),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "mamba_d_state", "ssm_state_size"), 8),
    **dict.fromkeys(("mamba_head_dim",), 8),
    **dict.fromkeys(("n_group", "topk_group", "first_k_dense_replace", "encoder_layers"), 1),
    **dict.fromkeys(("mamba_n_groups", "n_groups"), 1),
    mamba_d_head=16,
    num_kv_shared_layers=0,
)
# Attention by a latent vector: the rotated part of a head has a width of its own.
_LATENT = {"head_dim": 4, "num_key_value_heads": 4}
_LATENT_TYPES = "axk1 axk2 deepseek_v2 deepseek_v3 deepseek_v32 glm4_moe_lite glm_moe_dsa minicpm3 youtu"
# What some types want besides; None leaves a size out.
SPECIAL = {
    **dict.fromkeys(_LATENT_TYPES.split(), _LATENT),
    "longcat_flash": {**_LATENT, "num_layers": 2, "zero_expert_num": 2, "expert_ffn_hidden_size": 24},
    "dots1": {"n_shared_experts": 1},
    "dots3_note": {"num_key_value_heads": 4},
    "dots3_note_text": {"num_key_value_heads": 4},
    "falcon_h1": {"mamba_d_ssm": 64},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "prophetnet": {"num_hidden_layers": None, "num_encoder_layers": 1, "num_decoder_layers": 4},
    "reformer": {
        "is_decoder": True,
        "axial_pos_shape": [8, 8],
        "axial_pos_embds_dim": [16, 16],
        "attn_layers": ["local", "local"],
        "local_chunk_length": 8,
        "lsh_attn_chunk_length": 8,
    },
    "zamba": {"num_hidden_layers": 12},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"] * 2, "layer_types": ["mamba", "hybrid"] * 2},
    "cohere_compass_text": {"layer_types": ["full_attention"] * 4},
    "xlnet": {"max_position_embeddings": None},
    "xmod": {"default_language": "en_XX"},
    "zaya": {"num_experts_per_tok": 1},
}


def tiny_config(model_type: str):
    """A tiny configuration. That of a multimodal type has tiny towers beside the language model."""
    from transformers import AutoConfig

    default = type(AutoConfig.for_model(model_type))()
    special = SPECIAL.get(model_type, {})
    text = default.get_text_config(decoder=True)
    if type(text) is type(default):
        return _made(default, special)
    towers = {name: getattr(default, name, None) for name in default.sub_configs}
    kept = {
        name: _made(tower, special if type(tower) is type(text) else {}).to_dict()
        for name, tower in towers.items()
        if hasattr(tower, "to_dict")
    }
    return type(default)(**kept)


def _made(default, special: dict):
    def has(name: str) -> bool:
        try:
            return hasattr(default, name)
        except Exception:  # a setting that differs between layers cannot be read, and can be given
            return True

    sizes = {name: value for name, value in (SIZES | special).items() if value is not None and has(name)}
    while True:
        try:
            return type(default)(**sizes)
        except AttributeError as error:  # a setting that follows from others
            fixed = re.search(r"property '(\w+)'", str(error))
            if fixed is None or sizes.pop(fixed[1], None) is None:
                raise


def tiny_model(model_type: str) -> nn.Module:
    from transformers import AutoModelForCausalLM

    config = tiny_config(model_type)
    size = sum(weight.numel() for weight in _weightless(model_type).parameters())
    if size > _LARGEST:
        raise ValueError(f"no tiny model: {size / 1e6:.0f}M parameters")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, experts_implementation="eager").eval()
    for weight in model.parameters():
        if not weight.isfinite().all() or not weight.any():  # left without a value, or at zero
            nn.init.normal_(weight, std=0.1)
    return model


def _weightless(model_type: str) -> nn.Module:
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(tiny_config(model_type))


def ids() -> Tensor:
    return torch.randint(2, 120, (2, 24), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def verdict(model_type: str) -> dict[str, str]:
    """What lape makes of a type: `result` is "right", "refused", "not tried" or "wrong", and `note` says why."""
    try:
        model = tiny_model(model_type)
        logits = model(input_ids=ids(), use_cache=False).logits.clone()
    except Exception as error:  # transformers' own reasons
        text = " ".join(str(error).split())
        return {"type": model_type, "result": "not tried", "sites": "", "note": f"{type(error).__name__}: {text:.90}"}
    try:
        ffn = find_ffn(model)
        described = find_ffn(_weightless(model_type))  # as `lape model` does
        faults = list(_faults(model, ffn, logits))
        if described.sites != ffn.sites:
            faults.append("without weights other sites are found")
    except LapeError as error:
        reason = re.sub(rf"^architecture '{model_type}'[:,] ", "", str(error))
        return {"type": model_type, "result": "refused", "sites": "", "note": reason}
    normed = any(part.normed for part in ffn.parts)
    note = "; ".join(faults) or ("a norm before the down projection: see above" if normed else "")
    return {"type": model_type, "result": "wrong" if faults else "right", "sites": _described(ffn), "note": note}


def _faults(model: nn.Module, ffn: FFN, logits: Tensor) -> Iterator[str]:
    counted = record_statistics(model, [ids()])
    hooked = record_statistics(model, [ids()], backend="reference", fused=False)
    plain = _plain_counts(model, ffn)
    if not (np.array_equal(counted.count.ravel(), plain) and np.array_equal(hooked.count.ravel(), plain)):
        yield "counts are not those of plain hooks"
    widths = np.diff(ffn.sites.starts)
    whole = {layer: np.arange(width) for layer, width in enumerate(widths) if width}
    with perturbed(model, Perturbation(whole, "scale", 1.0)):
        if not torch.equal(model(input_ids=ids(), use_cache=False).logits, logits):
            yield "a perturbation that changes nothing changes the logits"
    third = {layer: places[::3] for layer, places in whole.items()}
    with perturbed(model, Perturbation(third)):
        without = model(input_ids=ids(), use_cache=False).logits.clone()
    if torch.equal(without, logits):
        yield "a deactivation changes nothing"
    if not any(part.normed for part in ffn.parts):
        with _zeroed(ffn, third):
            zeroed = model(input_ids=ids(), use_cache=False).logits
        if not torch.allclose(without, zeroed, rtol=1e-4, atol=1e-4 * float(logits.abs().max())):
            yield "a deactivation is not a down projection with zeroed columns"
    if not torch.equal(model(input_ids=ids(), use_cache=False).logits, logits):
        yield "something is left behind"


def _plain_counts(model: nn.Module, ffn: FFN) -> np.ndarray:
    """How often each neuron fires, by plain hooks: [N].

    Where no module of its own computes the activation, the sign of the gate tells, which such functions keep.
    """
    fired = [np.zeros((part.site.experts, part.site.width), np.int64) for part in ffn.parts]
    with contextlib.ExitStack() as stack:
        for part, own in zip(ffn.parts, fired, strict=True):
            stack.callback(_plain_hook(part, own).remove)
        model(input_ids=ids(), use_cache=False)
    return np.concatenate([own.ravel() for own in fired])


def _plain_hook(part: ModelSite, fired: np.ndarray):
    width = part.site.width

    def count(expert: int, values: Tensor) -> None:
        fired[expert] += (values > 0).flatten(0, -2).sum(0).numpy()

    def of_experts(module: nn.Module, arguments: tuple, keywords: dict) -> None:
        hidden, *routing = [*arguments, *keywords.values()]
        first = module.gate_up_proj if hasattr(module, "gate_up_proj") else module.up_proj
        half = slice(width) if getattr(module, "is_concatenated", True) else slice(None, None, 2)
        for expert in range(part.site.experts):
            own = hidden if routing else hidden.view(part.site.experts, -1, _HIDDEN)[expert]
            rows = torch.where((routing[0] == expert).T)[1] if routing else own.any(-1)
            weight = first[expert] if first.shape[2] == _HIDDEN else first[expert].T
            bias = getattr(module, "gate_up_proj_bias", None)
            joined = functional.linear(own[rows], weight, None if bias is None else bias[expert])
            count(expert, joined[:, half])

    if part.paths.experts:
        return part.module("experts").register_forward_pre_hook(of_experts, with_kwargs=True)
    if part.paths.activation:
        return part.module("activation").register_forward_hook(lambda module, inputs, output: count(0, output))
    gate = part.layer.get_submodule(part.paths.gate or part.reads)
    return gate.register_forward_hook(lambda module, inputs, output: count(0, output[..., :width]))


@contextlib.contextmanager
def _zeroed(ffn: FFN, places: dict[int, np.ndarray]) -> Iterator[None]:
    """During the block, the down projections have zeros in the columns of some neurons."""
    saved = []
    for part in ffn.parts:
        own = places[part.site.layer] - part.first
        for expert in range(part.site.experts):
            columns = own[(own >= expert * part.site.width) & (own < (expert + 1) * part.site.width)]
            columns = columns - expert * part.site.width
            weight = part.module("experts").down_proj[expert] if part.paths.experts else part.module("down").weight
            saved.append((weight, weight.clone()))
            weight[(slice(None), columns) if weight.shape[0] == _HIDDEN else columns] = 0
    yield
    for weight, values in reversed(saved):
        weight.copy_(values)


def _described(ffn: FFN) -> str:
    """Which sites a model has, by layers: "experts in 3 of 4 layers, shared in 3, dense in 1"."""
    layers = {
        kind: {part.site.layer for part in ffn.parts if part.site.kind == kind}
        for kind in ("dense", "experts", "shared")
    }
    return ", ".join(f"{kind} in {len(own)} of {ffn.sites.layers}" for kind, own in layers.items() if own)


def sweep(types: list[str], workers: int = 2) -> list[dict[str, str]]:
    """The verdicts on some types, each in a fork of this process, which has imported everything once."""
    verdict("qwen2_moe")

    def forked(model_type: str) -> dict[str, str]:
        reads, writes = os.pipe()
        child = os.fork()
        if not child:
            os.close(reads)
            signal.alarm(_SECONDS)
            torch.set_num_threads(1)
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                found = verdict(model_type)
            os.write(writes, json.dumps(found).encode())
            os._exit(0)
        os.close(writes)
        with open(reads, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(child, 0)
        died = {"type": model_type, "result": "wrong", "sites": "", "note": "ended without a verdict"}
        return json.loads(answer) if answer else died

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(forked, types))


def all_types() -> list[str]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def page(verdicts: list[dict[str, str]]) -> str:
    """The page with its numbers and its table made anew."""
    from transformers import __version__

    numbers = Counter(each["result"] for each in verdicts)
    rows = "\n".join(
        f"| `{each['type']}` | {each['result']} | {each['sites']} | {each['note'].replace('|', '/')} |"
        for each in sorted(verdicts, key=lambda each: each["type"])
    )
    summary = (
        f"Of the {len(verdicts)} causal LM types of transformers {__version__}, {numbers['right']} are right, "
        f"{numbers['refused']} are refused, and of {numbers['not tried']} no tiny model could be made to try."
    )
    table = f"| type | result | sites, in how many layers | note |\n|---|---|---|---|\n{rows}\n"
    text = PAGE.read_text(encoding="utf-8")
    return re.sub(r"(?s)(?<=<!-- sweep -->\n).*", f"{summary}\n\n{table}", text)


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(sweep(sys.argv[1:]), indent=1))
    else:
        PAGE.write_text(page(sweep(all_types())), encoding="utf-8")
