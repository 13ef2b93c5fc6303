"""Try on a model's weights whether the sites that a trace found are its FFNs."""

from functools import partial

import torch
from torch import Tensor, nn

from lape.errors import LapeError
from lape.machine import ranks
from lape.model.activations import activations_seen
from lape.model.decoder import decoder_of, input_device
from lape.model.ffn_search import run_on
from lape.model.model_sites import FFN, ModelSite
from lape.model.sites import layer_label

# Every third neuron is set to zero.
_STEP = 3
# Largest difference, as a share of the largest value, that rounding explains.
_ROUNDING = 1e-2


@torch.no_grad()
def check_sites(model: nn.Module, ffn: FFN, model_type: str) -> None:
    """Check that activations act by the down projection alone, neuron by neuron.

    The second of two passes sets some neurons to zero. What each down projection reads must then be zero in the columns
    of these neurons and the same as before in the others; behind a norm, it may be anything. What the projection writes
    is replaced by what it wrote in the first pass, and the decoder's output must then be the same. The experts of a
    mixture run one by one in the second pass, with nothing set to zero, and must give what they gave before.

    Raises:
        LapeError: a site differs; it is no FFN that LAPE understands.
    """
    if ranks.number() > 1:
        return
    decoder = decoder_of(model)
    ids = torch.tensor([[0, 1, 2]], device=input_device(model))
    before: dict[ModelSite, tuple[Tensor, Tensor]] = {}
    faults: dict[ModelSite, str] = {}

    def remember(site: ModelSite, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        before[site] = inputs[0].clone(), output.clone()

    def silence(site: ModelSite, expert: int, activation: Tensor, rows: Tensor | None) -> Tensor | None:
        if site.paths.experts:
            return None
        edited = activation.clone()
        edited[..., ::_STEP] = 0
        return edited

    def compare(site: ModelSite, module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        read, written = before[site]
        if site.paths.experts:
            if not _alike(output, written):
                faults[site] = "its experts, run one by one, compute something else than the model"
        elif not site.normed:
            zeroed = torch.zeros(read.shape[-1], dtype=torch.bool, device=read.device)
            zeroed[::_STEP] = True
            if inputs[0][..., zeroed].any() or not _alike(inputs[0][..., ~zeroed], read[..., ~zeroed]):
                faults[site] = "a neuron is not one column of what it reads, or an earlier one has another way out"
        return written

    def run(see, hook) -> Tensor:
        handles = [_output(part).register_forward_hook(partial(hook, part)) for part in ffn.parts]
        try:
            with activations_seen(ffn.parts if see else (), see):
                return run_on(decoder, ids)
        finally:
            for handle in handles:
                handle.remove()

    was = run(None, remember)
    now = run(silence, compare)
    unseen = [part for part in ffn.parts if part not in before]
    if unseen:
        faults[unseen[0]] = "it did not run"
    for part, fault in faults.items():
        path = part.paths.experts or part.paths.down
        raise LapeError(
            f"architecture {model_type!r}, {layer_label(part.site.layer)}, {path}: no FFN that is known ({fault})"
        )
    if not _alike(now, was):
        raise LapeError(f"architecture {model_type!r}: no FFN that is known (activations have another way out)")


def _output(part: ModelSite) -> nn.Module:
    return part.module("experts" if part.paths.experts else "down")


def _alike(one: Tensor, other: Tensor) -> bool:
    largest = other.abs().max() if other.numel() else 0
    return bool(((one - other).abs() <= _ROUNDING * largest).all()) or torch.equal(one, other)
