"""Switch parameters off: set them to zero in the model during a block, and restore their exact bits after it."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lape.errors import LapeError
from lape.machine import ranks
from lape.parameter_variation.parameters import Parameters

logger = logging.getLogger(__name__)


@dataclass
class Zeroing:
    """The record of what was set to zero.

    Attributes:
        matrices: matrix -> number of its parameters that are set to zero. Matrices without any do not appear.
        nonzero: number of these parameters, over all matrices, that were not zero before.
    """

    matrices: dict[str, int] = field(default_factory=dict)
    nonzero: int = 0
    _places: list[tuple[str, Tensor, tuple[Tensor, ...]]] = field(default_factory=list, repr=False)

    @property
    def parameters(self) -> int:
        """Number of parameters that are set to zero, over all matrices."""
        return sum(self.matrices.values())

    def check(self) -> None:
        """Fail unless the parameters are zero in the model at this moment, and some were not before.

        Raises:
            LapeError: a matrix was written to meanwhile, or all parameters were zero before.
        """
        for name, weight, place in self._places:
            if weight[place].any():
                raise LapeError(f"{name}: its parameters are no longer zero; load no weights while they are zeroed")
        if self.parameters and not self.nonzero:
            raise LapeError(f"all {self.parameters} parameters were zero before; select them on this model")


@contextlib.contextmanager
def zeroed(model: nn.Module, parameters: Parameters, sets: str | Sequence[str]) -> Iterator[Zeroing]:
    """Set some languages' parameters to zero during the block (parameter variation, section 3.1 of the paper).

    The matrices are changed in place, in any dtype and on any device. The exact bits are back when the block ends,
    however it ends. An empty set changes nothing; a warning says so.

    Args:
        model: a Hugging Face causal LM with the matrices in which the parameters were selected.
        parameters: selected parameters.
        sets: a language, or several.

    Yields:
        the record of what was zeroed. It is checked when the block ends without an error.

    Raises:
        LapeError: there is no set of a name, the model lacks a matrix of a wanted shape, or weights are quantised or
            offloaded.

    Example:
        >>> with zeroed(model, parameters, "fr"):
        ...     model.generate(**prompt)
    """
    indices = parameters.indices(sets)
    if not indices:
        logger.warning("%s: the set %s is empty: nothing is zeroed", parameters.origin, sets)
    # A matrix that is tied to another has a name of its own and the same storage.
    named = dict(model.named_parameters(remove_duplicate=False))
    weights = {name: _weight(named, name, parameters) for name in indices}
    record = Zeroing()
    with contextlib.ExitStack() as stack:
        for name, index in indices.items():
            weight, place = _own(weights[name], torch.from_numpy(index))
            before = weight[place]
            # Matrices are restored from the last to the first. Of two tied matrices the first holds the values from
            # before both changes, so it must be written last.
            stack.callback(_write, weight, place, before)
            _write(weight, place, torch.zeros((), dtype=weight.dtype, device=weight.device))
            record.matrices[name] = len(index)
            nonzero = int(before.count_nonzero())
            record.nonzero += nonzero if weight is weights[name] else sum(ranks.gathered(nonzero))
            record._places.append((name, weight, place))
        yield record
        record.check()


def _weight(named: dict[str, nn.Parameter], name: str, parameters: Parameters) -> Tensor:
    """A matrix of the model, after a check that it has the shape of the one that the parameters were selected in."""
    if name not in named:
        raise LapeError(f"{parameters.origin}: the model has no matrix {name}; select parameters on this model")
    weight = named[name].detach()
    if weight.device.type == "meta":
        raise LapeError(f"{name}: lies outside the devices' memory; load the model where it fits without offloading")
    if tuple(weight.shape) != parameters.matrices[name] or not weight.is_floating_point():
        raise LapeError(
            f"{parameters.origin}: {name} is {weight.dtype} {list(weight.shape)} in the model, a matrix of "
            f"{list(parameters.matrices[name])} is wanted; use the model that was searched, not quantised"
        )
    return weight


def _own(weight: Tensor, index: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The part of a matrix that this rank holds, and the places in it of flat indices into the whole matrix.

    Without tensor parallelism the part is the whole matrix.
    """
    place = torch.unravel_index(index.to(weight.device), weight.shape)  # a transposed matrix has no flat view
    if not hasattr(weight, "placements"):
        return weight, place
    (placement,), rank, own = weight.placements, weight.device_mesh.get_local_rank(), weight.to_local()
    if not placement.is_shard():
        raise LapeError(f"a matrix lies on the ranks as {placement}, not in equal blocks; use `device_map: auto`")
    first = rank * own.shape[placement.dim]
    here = [each - first if dimension == placement.dim else each for dimension, each in enumerate(place)]
    inside = (here[placement.dim] >= 0) & (here[placement.dim] < own.shape[placement.dim])
    return own, tuple(each[inside] for each in here)


def _write(weight: Tensor, place: tuple[Tensor, ...], values: Tensor) -> None:
    with torch.no_grad():
        weight[place] = values
