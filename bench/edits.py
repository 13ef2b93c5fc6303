"""Section 9: neurons switched off and steered, beside the same edits in TransformerLens and nnsight.

1% of the neurons are set to zero while a text is read, and to a value while answers are written. The other tools return
logits, of which a user takes the negative log-likelihood in plain torch. None of them uses lape.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from bench.peers import PEERS, bridge_of
from bench.perplexity import random_neurons
from bench.report import Row, installed
from bench.setting import Setting
from bench.timing import Spread, alternate
from lape.evaluation.perplexity import chunk_nll
from lape.interventions.perturbation import Perturbation, perturbed

_VALUE = 1.0  # that activations are steered to
_PROMPTS, _PROMPT, _NEW = 8, 32, 32  # prompts, tokens of each, and tokens of each answer
Indices = Mapping[int, np.ndarray]


@dataclass(frozen=True)
class Tool:
    """What a tool computes on a model of its own.

    Attributes:
        nll: token ids [B, T] -> NLL of each sequence, float64 [B], with the neurons at zero.
        answers: token ids [B, T] -> ids of the greedy answers [B, new tokens], with the neurons at the value.
    """

    nll: Callable[[Tensor], np.ndarray]
    answers: Callable[[Tensor], Tensor]


def edit_rows(setting: Setting) -> list[Row]:
    """Tokens/s of lape over those of each other tool, on the last model that other tools run on."""
    work = next(work for work in reversed(setting.passes) if work.peers)
    model = work.model(setting.device)
    indices = random_neurons(model).indices("random")
    ids = work.ids(setting.device)
    prompts = ids.repeat(_PROMPTS, 1)[:_PROMPTS, : min(_PROMPT, ids.shape[1])]
    tools, absent = {"lape": _lape(model, indices)}, []
    for name, (package, *_) in PEERS.items():
        if installed(package) is None:
            absent.append(name)
        else:
            tools[name] = _MAKE[name](model, indices)
    rows = []
    for what, call, tokens in (
        ("perplexity, neurons off", lambda tool: tool.nll(ids), work.tokens),
        ("answers, neurons steered", lambda tool: tool.answers(prompts), len(prompts) * _NEW),
    ):
        found = {name: call(tool) for name, tool in tools.items()}
        contenders = {name: lambda tool=tool, call=call: call(tool) for name, tool in tools.items()}
        seconds = alternate(contenders, setting.turns, setting.device)
        for name in PEERS:
            if name in absent:
                rows.append(Row(9, f"{work}: {what}: {name}", None, goal=("at least", 1.0), note="not installed"))
                continue
            speeds = [tokens / np.median(seconds[each]) for each in ("lape", name)]
            note = f"{speeds[0]:,.0f} against {speeds[1]:,.0f} tokens/s; {_agreement(found['lape'], found[name])}"
            ratio = Spread.of(seconds[name] / seconds["lape"])
            rows.append(Row(9, f"{work}: {what}: {name}", ratio, goal=("at least", 1.0), note=note))
    return rows


def _agreement(ours: np.ndarray | Tensor, theirs: np.ndarray | Tensor) -> str:
    if isinstance(ours, np.ndarray):
        return f"NLL differs by at most {np.abs(ours / theirs - 1).max():.1e} of it"
    return f"{(ours == theirs).float().mean():.0%} of the answers' tokens are the same"


def _lape(model: PreTrainedModel, indices: Indices) -> Tool:
    def nll(ids: Tensor) -> np.ndarray:
        with perturbed(model, Perturbation(indices)):
            return chunk_nll(model, ids.cpu().numpy(), len(ids))

    def answers(ids: Tensor) -> Tensor:
        with perturbed(model, Perturbation(indices, values=_VALUE)):
            return _written(model.generate, ids)

    return Tool(nll, answers)


def _transformer_lens(model: PreTrainedModel, indices: Indices) -> Tool:
    """Hooks of a TransformerBridge, which knows no point between activation and product: the product is edited."""
    bridge = bridge_of(model)

    def hooks(value: float) -> list:
        ups: dict[int, Tensor] = {}
        points = []
        for layer, index in indices.items():

            def keep(up: Tensor, hook, layer: int = layer) -> None:
                ups[layer] = up

            def put(product: Tensor, hook, layer: int = layer, index: np.ndarray = index) -> Tensor:
                product[..., index] = value * ups[layer][..., index] if value else 0.0
                return product

            points += [(f"blocks.{layer}.mlp.in.hook_out", keep)] if value else []
            points.append((f"blocks.{layer}.mlp.out.hook_in", put))
        return points

    @torch.inference_mode()
    def nll(ids: Tensor) -> np.ndarray:
        return _nll(bridge.run_with_hooks(ids, fwd_hooks=hooks(0.0), return_type="logits", use_cache=False), ids)

    @torch.inference_mode()
    def answers(ids: Tensor) -> Tensor:
        settings = dict(do_sample=False, stop_at_eos=False, return_type="tokens", verbose=False, prepend_bos=False)
        with bridge.hooks(fwd_hooks=hooks(_VALUE)):
            return bridge.generate(ids, max_new_tokens=_NEW, **settings)[:, ids.shape[1] :]

    return Tool(nll, answers)


def _nnsight(model: PreTrainedModel, indices: Indices) -> Tool:
    from nnsight import LanguageModel
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    empty = Tokenizer(models.WordLevel({"": 0}, unk_token=""))  # a LanguageModel wants some tokenizer
    lm = LanguageModel(copy.deepcopy(model), tokenizer=PreTrainedTokenizerFast(tokenizer_object=empty, pad_token=""))

    @torch.inference_mode()
    def nll(ids: Tensor) -> np.ndarray:
        with lm.trace(ids, use_cache=False):
            for layer, index in indices.items():
                lm.model.layers[layer].mlp.act_fn.output[..., index] = 0.0
            logits = lm.output.logits.save()
        return _nll(logits, ids)

    @torch.inference_mode()
    def answers(ids: Tensor) -> Tensor:
        with lm.generate(ids, max_new_tokens=_NEW, min_new_tokens=_NEW, do_sample=False) as tracer:
            with tracer.iter[0:_NEW]:
                for layer, index in indices.items():
                    lm.model.layers[layer].mlp.act_fn.output[..., index] = _VALUE
            written = lm.generator.output.save()
        return written[:, ids.shape[1] :]

    return Tool(nll, answers)


_MAKE = {"TransformerLens": _transformer_lens, "nnsight": _nnsight}


def _written(generate: Callable, ids: Tensor) -> Tensor:
    """The greedy answers to prompts without padding."""
    settings = dict(attention_mask=torch.ones_like(ids), do_sample=False, pad_token_id=0)
    return generate(ids, max_new_tokens=_NEW, min_new_tokens=_NEW, **settings)[:, ids.shape[1] :]


def _nll(logits: Tensor, ids: Tensor) -> np.ndarray:
    """NLL of each sequence, of all its logits."""
    pairs = zip(logits[:, :-1], ids[:, 1:], strict=True)
    losses = [cross_entropy(row.float(), targets, reduction="sum") for row, targets in pairs]
    return torch.stack(losses).double().cpu().numpy()
