"""Train neurons and nothing else: gradient masks for their rows and columns."""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from lape.display.layers import ranges
from lape.display.tables import Shown, Table
from lape.errors import LapeError
from lape.interventions.perturbation import check_shape
from lape.model.ffn import find_ffn
from lape.model.model_sites import ModelSite
from lape.model.neuron_weights import NeuronWeight, down_weight, first_weights
from lape.neurons.table import Neurons


@dataclass(repr=False)
class Trainable(Shown):
    """The record of what is trained.

    Attributes:
        neurons: layer -> number of neurons that are trained.
        elements: parameter -> number of its elements that are trained. Parameters without one are frozen.
    """

    neurons: dict[int, int] = field(default_factory=dict)
    elements: dict[str, int] = field(default_factory=dict)
    _masked: list[tuple[str, nn.Parameter, Tensor, bytes]] = field(default_factory=list)

    def shown(self) -> Table:
        """How many neurons of which layers are trained, and how many elements of how many parameters."""
        layers = ranges(layer for layer, number in self.neurons.items() if number)
        return Table(
            f"{sum(self.neurons.values()):,} neurons are trained, in layers {layers} (from 1): "
            f"{sum(self.elements.values()):,} elements of {len(self.elements):,} parameters"
        )

    def check(self) -> None:
        """Fail where another element of a parameter that has trained elements has changed by a bit.

        Raises:
            LapeError: one has.
        """
        for name, parameter, mask, before in self._masked:
            if _digest(parameter, mask) != before:
                raise LapeError(
                    f"{name}: weights of other neurons changed in the block; train without weight decay, with an "
                    "optimizer that leaves elements without a gradient alone"
                )


@contextlib.contextmanager
def trainable(model: nn.Module, neurons: Neurons, sets: str | Sequence[str]) -> Iterator[Trainable]:
    """Let some languages' neurons be trained during the block, and nothing else.

    A neuron's weights are its rows of the first projections (gate and up in a GLU) with their biases, and its column of
    the down projection. All other gradients are zero or absent: other elements of these weights get a gradient of zero,
    and other parameters are frozen. AdamW and SGD then change no bit of what is not trained. Weight decay would, and is
    refused as soon as an optimizer takes a step. Adapters of PEFT stay trainable where PEFT has made them so.

    The loop is the caller's: transformers' Trainer, or any other. When the block ends, every parameter requires
    gradients as it did before.

    Args:
        model: a Hugging Face causal LM, neither quantised nor spread over several ranks.
        neurons: selected neurons of a model of the same shape.
        sets: a language, or several.

    Yields:
        the record of what is trained. It is checked when the block ends without an error.

    Raises:
        LapeError: there is no set of a name or no neuron in it, the neurons are of a model of another shape, weights
            are quantised or spread, an optimizer decays weights, or weights of other neurons changed.

    Example:
        >>> with trainable(model, neurons, "fr"):
        ...     Trainer(model, TrainingArguments(...), train_dataset=texts).train()
    """
    check_shape(model, neurons)
    indices = neurons.indices(sets)
    if not indices:
        raise LapeError(f"{neurons.origin}: the set {sets} is empty; name a language that has neurons")
    record = Trainable({layer: len(index) for layer, index in indices.items()})
    masks = _masks(model, indices)
    kept = {id(each) for each in model.parameters() if each.requires_grad} if _has_adapters(model) else set()
    with contextlib.ExitStack() as stack:
        for name, parameter in model.named_parameters():
            stack.callback(parameter.requires_grad_, parameter.requires_grad)
            mask = masks.get(id(parameter))
            if mask is None:
                parameter.requires_grad_(id(parameter) in kept)
                continue
            parameter.requires_grad_(True)
            stack.callback(parameter.register_hook(_masking(mask)).remove)
            record.elements[name] = int(mask.expand(parameter.shape).count_nonzero())
            record._masked.append((name, parameter, mask, _digest(parameter, mask)))
        stack.callback(register_optimizer_step_pre_hook(_without_decay(record)).remove)
        yield record
        record.check()


def _masks(model: nn.Module, indices: dict[int, np.ndarray]) -> dict[int, Tensor]:
    """id of a parameter -> bool mask of its elements that belong to some neurons, which broadcasts to its shape."""
    masks = {}
    for part in find_ffn(model).parts:
        places = indices.get(part.site.layer, np.zeros(0, np.int64)) - part.first
        places = places[(places >= 0) & (places < part.site.neurons)]
        if not len(places):
            continue
        chosen = np.zeros((part.site.experts, part.site.width), bool)
        chosen.flat[places] = True
        for weight in (down_weight(part), *first_weights(part)):
            masks[id(weight.parameter)] = _mask(part, weight, chosen)
    return masks


def _mask(part: ModelSite, weight: NeuronWeight, chosen: np.ndarray) -> Tensor:
    parameter = weight.parameter
    if part.ranks > 1 or hasattr(parameter, "placements") or not parameter.is_floating_point() or parameter.is_meta:
        raise LapeError(
            "trainable: weights are quantised, offloaded or spread over ranks; load the whole model plainly"
        )
    shape = [1] * parameter.dim()
    shape[weight.axis] = parameter.shape[weight.axis]
    if part.paths.experts:
        shape[0] = part.site.experts
    return torch.from_numpy(chosen[:, weight.neurons]).view(shape).to(parameter.device)


def _masking(mask: Tensor):
    # A product with zero would keep a NaN.
    return lambda gradient: torch.where(mask, gradient, 0)


def _has_adapters(model: nn.Module) -> bool:
    """Whether PEFT has put adapters into a model."""
    return hasattr(model, "peft_config") or getattr(model, "_hf_peft_config_loaded", False)


def _without_decay(record: Trainable):
    """A hook of all optimizers that refuses weight decay on what is trained."""
    names = {id(parameter): name for name, parameter, *_ in record._masked}

    def check(optimizer: torch.optim.Optimizer, *_) -> None:
        for group in optimizer.param_groups:
            decayed = [names[id(each)] for each in group["params"] if id(each) in names]
            if decayed and group.get("weight_decay"):
                raise LapeError(
                    f"{decayed[0]}: a weight decay of {group['weight_decay']} would change other neurons; set the "
                    "optimizer's weight_decay to 0"
                )

    return check


@torch.no_grad()
def _digest(parameter: Tensor, mask: Tensor) -> bytes:
    """Hash of the bits of a parameter's elements outside a mask."""
    others = torch.where(mask, 0, parameter.detach()).cpu().contiguous()
    return hashlib.sha256(others.view(torch.uint8).numpy()).digest()
