"""Where the weights of neurons are: rows of the first projections and columns of the down projection, by parameter."""

from dataclasses import dataclass, field

import numpy as np
from torch import nn
from transformers.pytorch_utils import Conv1D

from lape.errors import LapeError
from lape.model.model_sites import ModelSite
from lape.model.modules import first_projection, is_gated, is_projection, is_transposed, output_width
from lape.model.sites import layer_label


@dataclass(frozen=True)
class NeuronWeight:
    """A parameter of a site, of which each neuron has a slice.

    Attributes:
        parameter: the weight or the bias. In a mixture its first dimension is the expert.
        axis: dimension along which the neurons lie.
        neurons: int64 [size of the dimension], the neuron of each place, from 0 within the FFN or the expert.
    """

    parameter: nn.Parameter = field(repr=False)
    axis: int
    neurons: np.ndarray


def down_weight(part: ModelSite) -> NeuronWeight:
    """The weight of a site's down projection. Its columns are the neurons; its bias belongs to no neuron."""
    neurons = np.arange(part.site.width)
    if part.paths.experts:
        experts = part.module("experts")
        return NeuronWeight(experts.down_proj, 1 if is_transposed(experts) else 2, neurons)
    down = part.module("down")
    return NeuronWeight(down.weight, 0 if isinstance(down, Conv1D) else 1, neurons)


def first_weights(part: ModelSite) -> list[NeuronWeight]:
    """The weights of a site's first projections, gate and up in a GLU, and their biases.

    Raises:
        LapeError: it is not known which projection feeds the activation.
    """
    neurons = np.arange(part.site.width)
    if part.paths.experts:
        experts = part.module("experts")
        name = first_projection(experts)
        if is_gated(experts):
            concatenated = getattr(experts, "is_concatenated", True)
            neurons = np.tile(neurons, 2) if concatenated else np.repeat(neurons, 2)
        bias = getattr(experts, f"{name}_bias", None)
        found = [NeuronWeight(getattr(experts, name), 2 if is_transposed(experts) else 1, neurons)]
        return found + ([] if bias is None else [NeuronWeight(bias, 1, neurons)])
    if part.paths.gate and not part.paths.up:
        return _of(part.module("gate"), np.tile(neurons, 2))
    if part.paths.gate:
        return [*_of(part.module("gate"), neurons), *_of(part.module("up"), neurons)]
    return _of(activated_projection(part), neurons)


def activated_projection(part: ModelSite) -> nn.Module:
    """The projection whose output the activation function takes, and nothing else: the gate of a GLU, or the only one.

    Raises:
        LapeError: the site is a mixture, one projection computes gate and up, or it is not known which feeds the
            activation.
    """
    where = layer_label(part.site.layer)
    if part.paths.experts or (part.paths.gate and not part.paths.up):
        raise LapeError(f"{where}: one weight holds its gate and up, or several experts; switch neurons off only")
    if part.paths.gate:
        return part.module("gate")
    if part.reads:
        return part.layer.get_submodule(part.reads)
    home = part.paths.down.rpartition(".")[0]
    beside = [
        module
        for name, module in part.layer.named_modules()
        if name.rpartition(".")[0] == home and name != part.paths.down and is_projection(module)
        if output_width(module) == part.site.width
    ]
    if len(beside) != 1:
        raise LapeError(f"{where}: it is not known which projection feeds its activation; use another model")
    return beside[0]


def _of(projection: nn.Module, neurons: np.ndarray) -> list[NeuronWeight]:
    found = [NeuronWeight(projection.weight, 1 if isinstance(projection, Conv1D) else 0, neurons)]
    bias = getattr(projection, "bias", None)
    return found + ([] if bias is None else [NeuronWeight(bias, 0, neurons)])
