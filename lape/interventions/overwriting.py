"""Overwriting units: outputs of linear layers set to fixed values at every position (Kojima et al. 2024)."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from lape.errors import LapeError
from lape.interventions.perturbation import Firing, Place, edits_of
from lape.kernels import ops
from lape.machine import ranks
from lape.model.decoder import decoder_of, device_of
from lape.model.ffn import find_ffn
from lape.model.fused import experts_seen
from lape.model.linear import LinearLayer, linear_layers, mixture_of
from lape.model.model_sites import ModelSite
from lape.model.patching import check_not_replaced, traced_anew
from lape.model.sites import layer_label


@dataclass(frozen=True)
class UnitPerturbation:
    """Which units are overwritten, and by which values.

    Attributes:
        values: (layer, name of the linear layer) -> (int64 indices of its outputs, each once; float32 values, one for
            each index).
    """

    values: Mapping[tuple[int, str], tuple[np.ndarray, np.ndarray]]

    @property
    def size(self) -> int:
        """Number of units that are overwritten."""
        return sum(len(index) for index, _ in self.values.values())


@contextlib.contextmanager
def overwritten(model: nn.Module, perturbation: UnitPerturbation, backend: str = "auto") -> Iterator[Firing]:
    """Set the outputs of some units to fixed values, at every position, during the block.

    Args:
        model: a Hugging Face causal LM.
        perturbation: units of this model.
        backend: see `lape.kernels.ops.resolved`.

    Yields:
        the record of what fired, by (layer, name). It is not checked. The experts of a mixture share one entry per
        layer and projection, such as (0, "mlp.experts.down_proj").

    Raises:
        LapeError: the architecture is not known, the model lacks a linear layer or a unit, a unit is named twice, a
            value is not finite, or the FFNs are recorded or perturbed already.

    Example:
        >>> with overwritten(model, expert_units.perturbation("fr", "both", 2000)) as firing:
        ...     model.generate(**inputs)
        >>> firing.check()
    """
    ffn = find_ffn(model)
    check_not_replaced(ffn.layers)
    chosen = {place: pair for place, pair in perturbation.values.items() if len(pair[0])}
    known = {(linear.layer, linear.name): linear for linear in linear_layers(model)}
    _check(chosen, known)
    parts: dict[Place, dict[int, tuple[np.ndarray, np.ndarray]]] = {}
    units, spread = Counter(), set()
    mixtures: dict[Place, ModelSite] = {}
    for place, pair in chosen.items():
        index, values = np.asarray(pair[0], np.int64), np.asarray(pair[1], np.float32)
        (layer, name), number, expert = place, 1, 0
        mixture = mixture_of(layer, name, ffn)
        if mixture is None:
            number, rank = ranks.of_output(decoder_of(model), name, ffn.layers[layer].get_submodule(name))
        else:
            name, expert = _of_expert(name)
            mixtures[layer, name] = mixture
        units[layer, name] += len(index)
        if number > 1:
            spread.add(place)
            width = known[place].width // number
            own = index // width == rank
            index, values = index[own] - rank * width, values[own]
        parts.setdefault((layer, name), {})[expert] = index, values
    with torch.inference_mode(False):  # the record's tensors may outlive an inference mode of the caller
        edits = {
            (layer, name): [
                edits_of([[("set", *own[expert])] if expert in own else []], device_of(ffn.layers[layer]))
                for expert in range(mixtures[layer, name].site.experts if (layer, name) in mixtures else 1)
            ]
            for (layer, name), own in parts.items()
        }
        firing = Firing([dict(units)], edits, partial(_saw, mixtures), spread)
    backend = ops.resolved(backend, *{device_of(ffn.layers[layer]) for layer, _ in edits})

    def hook(place: Place) -> Callable:
        return lambda module, inputs, output: firing.edit(place, 0, output, None, backend)

    def see(site: ModelSite, expert: int, projection: str, output: Tensor, rows: Tensor) -> Tensor:
        place = site.site.layer, f"{site.paths.experts}.{projection}"
        return firing.edit(place, expert, output, None, backend) if place in edits else output

    with contextlib.ExitStack() as stack:
        if edits:
            stack.enter_context(traced_anew())
        for site in set(mixtures.values()):
            stack.enter_context(experts_seen(site, partial(see, site)))
        for layer, name in edits:
            if (layer, name) not in mixtures:
                module = ffn.layers[layer].get_submodule(name)
                stack.callback(module.register_forward_hook(hook((layer, name))).remove)
        yield firing


def _saw(mixtures: Mapping[Place, ModelSite], place: Place, rows: int, tokens: int) -> bool:
    """Whether a linear layer whose output was seen at `rows` rows has seen all of `tokens` tokens."""
    return mixtures[place].saw(rows, tokens) if place in mixtures else rows == tokens


def _of_expert(name: str) -> tuple[str, int]:
    """Split "mlp.experts.3.down_proj" into "mlp.experts.down_proj" and 3."""
    experts, expert, projection = name.rsplit(".", 2)
    return f"{experts}.{projection}", int(expert)


def _check(
    values: Mapping[tuple[int, str], tuple[np.ndarray, np.ndarray]], known: Mapping[tuple[int, str], LinearLayer]
) -> None:
    for (layer, name), (index, value) in values.items():
        label = f"{layer_label(layer)}, {name}"
        if (layer, name) not in known:
            raise LapeError(f"{label}: the model has no such linear layer; select units of this model")
        if np.asarray(index).dtype.kind not in "iu" or np.shape(index) != np.shape(value):
            raise LapeError(f"{label}: its indices are no integers with a value for each; pass such")
        if not (np.min(index) >= 0 and np.max(index) < known[layer, name].width):
            raise LapeError(f"{label}: a unit is outside its {known[layer, name].width}; select units of this model")
        if len(np.unique(index)) != len(index):
            raise LapeError(f"{label}: a unit comes twice; name each once")
        if not np.isfinite(value).all():
            raise LapeError(f"{label}: a value is NaN or infinite; set units to numbers")
