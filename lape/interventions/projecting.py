"""Projecting out: hidden states lose their component along a language's direction while a model runs.

It is the deactivation that belongs to the directions of DiffMean. See Arditi et al. 2024, "Refusal in language models
is mediated by a single direction", section 2.4 (directional ablation). Here every layer has a direction of its own.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lape.errors import LapeError
from lape.interventions.directions import fitting_layers
from lape.model.decoder import decoder_of, device_of
from lape.model.embeddings import hidden_states_hooked
from lape.model.sites import layer_label


@dataclass
class Seen:
    """What was projected behind one layer: number of calls, of positions, and of positions that changed.

    The last number is a tensor on the layer's device, so that no pass waits for it.
    """

    calls: int = 0
    positions: int = 0
    changed: int | Tensor = 0


class Projection:
    """The record of what was projected out, by layer (from 0)."""

    def __init__(self, layers: Mapping[int, Seen]):
        self.layers = dict(layers)

    def check(self, positions: int) -> None:
        """Fail unless every layer saw as many positions, and some of them changed.

        Raises:
            LapeError: a layer did not.
        """
        for layer, seen in self.layers.items():
            if seen.positions != positions or not seen.changed:
                raise LapeError(
                    f"{layer_label(layer)}: the projection saw {seen.positions} positions of {positions} and changed "
                    f"{int(seen.changed)}; load the model without fused kernels"
                )


@contextlib.contextmanager
def projected_out(model: nn.Module, directions: Mapping[int, np.ndarray]) -> Iterator[Projection]:
    """Subtract from the hidden states behind some layers their component along a direction, at every position.

    Args:
        model: a Hugging Face causal LM.
        directions: layer (from 0) -> float [d], of any length but 0.

    Yields:
        the record of what was projected out. It is not checked.

    Raises:
        LapeError: the model has no such layer, or hidden states of another width, or a direction is zero.

    Example:
        >>> with projected_out(model, directions.of("fr")) as projection:
        ...     model(ids)
        >>> projection.check(ids.numel())
    """
    layers, units = fitting_layers(model, directions), {}
    for layer, vector in directions.items():
        length = np.linalg.norm(vector.astype(np.float64))
        if not length > 0:
            raise LapeError(f"directions: that of layer {layer} (from 0) is zero; make them on this model")
        units[layer] = torch.from_numpy(vector / length).to(device_of(layers[layer]), torch.float32)
    record = Projection({layer: Seen() for layer in directions})

    def project(layer: int, hidden: Tensor) -> Tensor:
        without, seen = _without(hidden, units[layer]), record.layers[layer]
        seen.calls += 1
        seen.positions += hidden.shape[:-1].numel()
        seen.changed = seen.changed + (without != hidden).any(dim=-1).sum()
        return without

    with hidden_states_hooked(decoder_of(model), layers, project):
        yield record


def _without(hidden: Tensor, unit: Tensor) -> Tensor:
    """Hidden states [..., d] without their component along a unit vector [d]; computed in float32."""
    wide = hidden.float()
    return (wide - (wide @ unit)[..., None] * unit).to(hidden.dtype)
