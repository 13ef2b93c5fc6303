"""Perturbations: neurons switched off during a forward pass, as data and a context manager that proves it fired."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from lape.errors import LapeError
from lape.ffn import find_ffn, forward_hooks
from lape.neurons import Neurons

logger = logging.getLogger(__name__)


@dataclass
class Firing:
    """What a perturbation did, by layer; layers without a perturbed neuron do not appear.

    Attributes:
        neurons: layer -> number of neurons that are perturbed.
        calls: layer -> forward calls of its activation module.
        rows: layer -> tokens seen.
        changed: layer -> activations that the perturbation changed, over tokens and neurons.
    """

    neurons: dict[int, int]
    calls: dict[int, int] = field(default_factory=dict)
    rows: dict[int, int] = field(default_factory=dict)
    changed: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for counts in (self.calls, self.rows, self.changed):
            counts.update(dict.fromkeys(self.neurons, 0))

    def check(self, rows: int | None = None) -> None:
        """Fail unless every hook fired.

        Args:
            rows: tokens that were fed; None to ask only for one call, as a short text may leave a ReLU neuron
                at zero already.

        Raises:
            LapeError: a layer was never called; with `rows`, a layer saw another number of tokens, or the
                perturbation changed no activation at all.
        """
        for layer in self.neurons:
            if not self.calls[layer] or (rows is not None and self.rows[layer] != rows):
                fed = "at least 1" if rows is None else rows
                raise LapeError(
                    f"layer {layer}: the perturbation fired on {self.rows[layer]} tokens of {fed}; the model bypasses "
                    "its activation module: load it without fused kernels"
                )
        if rows and self.neurons and not any(self.changed.values()):
            raise LapeError(f"the perturbation changed no activation in {rows} tokens; its neurons never fire here")


@contextlib.contextmanager
def deactivate(model: nn.Module, neurons: Neurons, sets: str | Sequence[str]) -> Iterator[Firing]:
    """Set the activations of some languages' neurons to zero during the block (section 3.2 of the paper).

    An empty set changes nothing; a warning says so.

    Args:
        model: a Hugging Face causal LM.
        neurons: selected neurons of a model of the same shape.
        sets: a language (or "random", in a control), or several.

    Yields:
        the record of what fired; it is checked when the block ends without an error.

    Raises:
        LapeError: no such set, neurons of another model's shape, or a hook that did not fire.

    Example:
        >>> with deactivate(model, neurons, "fr"):
        ...     model.generate(**prompt)
    """
    shape = (neurons.layers, neurons.neurons_per_layer)
    model_shape = find_ffn(model).shape
    if shape != model_shape:
        raise LapeError(
            f"{neurons.origin}: selected in a model of {shape[0]} layers x {shape[1]} neurons, this one has "
            f"{model_shape[0]} x {model_shape[1]}; select them on this model"
        )
    indices = neurons.indices(sets)
    if not indices:
        logger.warning("%s: the set %s is empty: nothing is deactivated", neurons.origin, sets)
    with zeroed(model, indices) as firing:
        yield firing
    firing.check()


@contextlib.contextmanager
def zeroed(model: nn.Module, indices: Mapping[int, np.ndarray]) -> Iterator[Firing]:
    """Set the activations at `indices` (layer -> int64 neuron indices) to zero; the hooks go in any case."""
    activations = find_ffn(model).activations
    firing = Firing({layer: len(index) for layer, index in indices.items() if len(index)})

    def hook(layer: int, index: Tensor) -> Callable:
        def edit(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
            here = index.to(output.device)
            firing.calls[layer] += 1
            firing.rows[layer] += output.numel() // output.shape[-1]
            firing.changed[layer] += int(output.index_select(-1, here).count_nonzero())
            # Out of place: the activation function may need its output for a gradient.
            return output.index_fill(-1, here, 0)

        return edit

    with forward_hooks((activations[layer], hook(layer, torch.from_numpy(indices[layer]))) for layer in firing.neurons):
        yield firing
