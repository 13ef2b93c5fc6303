"""What a perturbation is as a change of weights, by parameter.

A neuron's activation reaches the output by its column of the down projection alone. The column times zero is therefore
the neuron switched off, in every architecture, and the column times a number is its activation times that number.

A constant activation is a row of zeros in the projection before the activation function, with a bias at which the
function has that value. The projection needs a bias for it. A unit, which is an output of a linear layer, is
overwritten by a row of zeros and a bias, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from lape.errors import LapeError
from lape.export.inverse import inputs_of
from lape.interventions.overwriting import UnitPerturbation
from lape.interventions.perturbation import Perturbation
from lape.model.ffn import find_ffn
from lape.model.linear import mixture_of
from lape.model.model_sites import ModelSite
from lape.model.neuron_weights import activated_projection, down_weight
from lape.model.sites import layer_label

# Settings of configurations that give linear layers a bias.
_BIASES = (("mlp_bias",), ("attention_bias",), ("mlp_bias", "attention_bias"), ("bias",))


@dataclass
class Edits:
    """How weights change.

    Attributes:
        factors: parameter -> float32 tensor of the parameter's shape, by which it is multiplied; 0 makes an element
            zero.
        biases: parameter -> (int64 places, float32 values that are set there).
        added: parameter that only the new configuration has -> its shape. It is a bias of zeros, before `biases`.
        settings: of the configuration, that are set to true.
        zeroed: number of neurons that are switched off.
        scaled: number of neurons whose activation is multiplied.
        constant: number of neurons or units that are set to a value.
    """

    factors: dict[str, Tensor] = field(default_factory=dict)
    biases: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    added: dict[str, torch.Size] = field(default_factory=dict)
    settings: dict[str, bool] = field(default_factory=dict)
    zeroed: int = 0
    scaled: int = 0
    constant: int = 0

    def multiply(self, name: str, factor: Tensor, shape: torch.Size) -> None:
        """Multiply a parameter by a factor that broadcasts to its shape."""
        self.factors[name] = (self.factors.get(name, torch.ones(())) * factor).expand(shape)


def edits_of(model: PreTrainedModel, change: Perturbation | UnitPerturbation) -> Edits:
    """The change of weights that does what a perturbation does.

    Args:
        model: a causal LM, which may be on the meta device.
        change: of its neurons or of its units.

    Raises:
        LapeError: no change of weights does it. The message says what stands in the way.
    """
    edits = Edits()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    constants = (
        _constant_units(model, change) if isinstance(change, UnitPerturbation) else _edit(model, change, edits, names)
    )
    for module, (index, values) in constants.items():
        name, weight = names[id(module.weight)], module.weight
        rows = torch.ones(weight.shape[1 if isinstance(module, Conv1D) else 0])
        rows[index] = 0
        edits.multiply(name, rows if isinstance(module, Conv1D) else rows[:, None], weight.shape)
        edits.biases[name.removesuffix("weight") + "bias"] = index, values
        edits.constant += len(index)
    lacking = [name for name in edits.biases if name not in names.values()]
    if lacking:
        edits.settings, edits.added = _with_biases(model, lacking)
    return edits


def _edit(
    model: PreTrainedModel, change: Perturbation, edits: Edits, names: Mapping[int, str]
) -> dict[nn.Module, tuple[np.ndarray, np.ndarray]]:
    """Note the changed columns of the down projections. What is left are projections with constants that they yield."""
    constants = {}
    for site in find_ffn(model).parts:
        factor, constant = np.ones(site.site.neurons, np.float32), np.full(site.site.neurons, np.nan, np.float32)
        for part in change.parts:
            index, values = part.within(site.site.layer, site.first, site.site.neurons)
            if not len(index):
                continue
            _check(part, site)
            if part.mode == "scale":
                factor[index] = values
                edits.scaled += len(index)
            else:
                factor[index[values == 0]] = 0
                edits.zeroed += int((values == 0).sum())
                constant[index[values != 0]] = values[values != 0]
        if (factor != 1).any():
            weight = down_weight(site)
            shape = [1] * weight.parameter.dim()
            shape[weight.axis] = site.site.width
            if site.paths.experts:
                shape[0] = site.site.experts
            column = torch.from_numpy(factor).view(shape)
            edits.multiply(names[id(weight.parameter)], column, weight.parameter.shape)
        [index] = np.isfinite(constant).nonzero()
        if len(index):
            constants[activated_projection(site)] = index, _inputs(site, constant[index])
    return constants


def _check(part: Perturbation, site: ModelSite) -> None:
    where = layer_label(site.site.layer)
    if part.positions != "all":
        raise LapeError(f"positions: weights know no {part.positions} positions; export with positions all")
    if part.mode not in ("set", "scale"):
        raise LapeError(f"mode: no change of weights does {part.mode!r}; export with mode set or scale")
    if site.normed:
        raise LapeError(f"{where}: a norm reads its activations; no change of weights switches them; use lape itself")


def _inputs(site: ModelSite, values: np.ndarray) -> np.ndarray:
    if not site.paths.activation or any(site.module("activation").parameters()):
        raise LapeError(
            f"{layer_label(site.site.layer)}: its activation function is no module without weights, and cannot be "
            "inverted; switch neurons off only"
        )
    try:
        return inputs_of(site.module("activation"), values)
    except ValueError as error:
        raise LapeError(f"{layer_label(site.site.layer)}: {error}; switch neurons off only") from error


def _constant_units(model: PreTrainedModel, change: UnitPerturbation) -> dict[nn.Module, tuple[np.ndarray, np.ndarray]]:
    ffn, found = find_ffn(model), {}
    for (layer, name), (index, values) in change.values.items():
        if mixture_of(layer, name, ffn) is not None:
            raise LapeError(f"{layer_label(layer)}, {name}: an expert of a mixture has no bias; use lape itself")
        found[ffn.layers[layer].get_submodule(name)] = np.array(index, np.int64), np.array(values, np.float32)
    return found


def _with_biases(model: PreTrainedModel, lacking: list[str]) -> tuple[dict[str, bool], dict[str, torch.Size]]:
    """Settings of the configuration with which the model has some biases, and the shapes of all biases that come by it.

    Raises:
        LapeError: there are none.
    """
    before = dict(model.named_parameters())
    for settings in _BIASES:
        config = type(model.config).from_dict(model.config.to_dict())
        if config.get_text_config() is not config or not all(getattr(config, name, None) is False for name in settings):
            continue
        for name in settings:
            setattr(config, name, True)
        with torch.device("meta"):
            after = dict(AutoModelForCausalLM.from_config(config).named_parameters())
        added = {name: weight.shape for name, weight in after.items() if name not in before}
        if before.keys() <= after.keys() and added.keys() >= set(lacking):
            return dict.fromkeys(settings, True), added
    raise LapeError(
        f"{lacking[0]}: the architecture {model.config.model_type!r} has no such bias, which a constant needs; "
        "switch neurons off, or scale them"
    )
