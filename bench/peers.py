"""Other ways to count activations: forward hooks as the authors write them, TransformerLens and nnsight.

Each yields a function from token ids [B, T] to counts int64 [L, I], and skips the LM head where it can. TransformerLens
and nnsight run on a LLaMA, plain hooks also on Gemma. None of them uses lape.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

Counter = Callable[[Tensor], Tensor]


def _zeros(model: PreTrainedModel) -> Tensor:
    config = model.get_decoder().config
    shape = (config.num_hidden_layers, config.intermediate_size)
    return torch.zeros(shape, dtype=torch.int64, device=model.device)


def plain_hooks(model: PreTrainedModel) -> Counter:
    """Forward hooks in plain torch on the activation modules, which count as the authors' released code does."""
    decoder = model.get_decoder()

    @torch.inference_mode()
    def count(ids: Tensor) -> Tensor:
        counts = _zeros(model)

        def hook(layer: int) -> Callable:
            def add(module: nn.Module, inputs: tuple, output: Tensor) -> None:
                counts[layer] += (output.float() > 0).sum(dim=(0, 1))

            return add

        handles = [block.mlp.act_fn.register_forward_hook(hook(layer)) for layer, block in enumerate(decoder.layers)]
        decoder(input_ids=ids, use_cache=False)
        for handle in handles:
            handle.remove()
        return counts

    return count


def bridge_of(model: PreTrainedModel):
    """TransformerLens's bridge around a copy of a model. It computes attention eagerly, as in every model it loads."""
    from transformer_lens.model_bridge.sources import build_bridge_from_module
    from transformer_lens.utilities.attn_implementation import force_eager_attention

    own = copy.deepcopy(model)
    force_eager_attention(own)
    return build_bridge_from_module(own, type(own).__name__, hf_config=own.config)


def transformer_lens(model: PreTrainedModel) -> Counter:
    """Hooks of a TransformerBridge.

    TransformerLens has no hook point after the activation function, so that the gate before it is counted, which has
    the same sign.
    """
    bridge = bridge_of(model)

    @torch.inference_mode()
    def count(ids: Tensor) -> Tensor:
        counts = _zeros(model)

        def hook(layer: int) -> Callable:
            def add(gate: Tensor, hook) -> None:
                counts[layer] += (gate.float() > 0).sum(dim=(0, 1))

            return add

        points = [(f"blocks.{layer}.mlp.gate.hook_out", hook(layer)) for layer in range(len(counts))]
        # The LM head cannot be left out, but it can be limited to one position.
        bridge.run_with_hooks(ids, fwd_hooks=points, return_type=None, use_cache=False, logits_to_keep=1)
        return counts

    return count


def nnsight(model: PreTrainedModel) -> Counter:
    """A trace of the decoder of a copy of the model, without the LM head."""
    from nnsight import NNsight

    decoder = NNsight(copy.deepcopy(model).get_decoder())

    @torch.inference_mode()
    def count(ids: Tensor) -> Tensor:
        counts = _zeros(model)
        with decoder.trace(input_ids=ids, use_cache=False):
            for layer, block in enumerate(decoder.layers):
                counts[layer] += (block.mlp.act_fn.output.float() > 0).sum(dim=(0, 1))
        return counts

    return count


# Name of a tool -> its package, the function that makes it, and the attention that it computes with.
PEERS: dict[str, tuple[str, Callable[[PreTrainedModel], Counter], str]] = {
    "TransformerLens": ("transformer-lens", transformer_lens, "eager"),
    "nnsight": ("nnsight", nnsight, "sdpa"),
}


@contextlib.contextmanager
def attention(model: PreTrainedModel, implementation: str) -> Iterator[None]:
    """During the block, the model computes attention with another implementation."""
    before = model.config._attn_implementation
    model.set_attn_implementation(implementation)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
