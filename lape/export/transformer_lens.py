"""Neurons as TransformerLens names them: the hook points between the product of an FFN and its down projection.

The package itself is not needed to make them. `blocks.{layer}.mlp.hook_post` is a hook point of HookedTransformer
(TransformerLens up to 3) and of TransformerBridge. What passes there is, in a GLU, the activation times the up
projection. A zero there is an activation of zero.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lape.errors import LapeError
from lape.neurons.table import Neurons

if TYPE_CHECKING:
    from torch import Tensor


def hook_points(neurons: Neurons, sets: str | Sequence[str]) -> dict[str, np.ndarray]:
    """The neurons of one or several sets: name of a hook point -> sorted int64 indices of its last axis.

    Raises:
        LapeError: there is no set of a name, or the neurons are of a mixture of experts.
    """
    sites = neurons.sites.sites
    if any(site.kind != "dense" for site in sites) or len({site.layer for site in sites}) < len(sites):
        raise LapeError(f"{neurons.origin}: are of a mixture of experts, whose neurons have no hook point; use lape")
    return {f"blocks.{layer}.mlp.hook_post": index for layer, index in neurons.indices(sets).items()}


def deactivating(neurons: Neurons, sets: str | Sequence[str]) -> list[tuple[str, Callable]]:
    """Hooks that switch neurons off, for `model.run_with_hooks(tokens, fwd_hooks=...)` and `model.add_hook(*hook)`.

    Raises:
        LapeError: see `hook_points`.
    """

    def hook(index: np.ndarray) -> Callable:
        def put(value: "Tensor", hook: object) -> "Tensor":
            value[..., index] = 0.0
            return value

        return put

    return [(name, hook(index)) for name, index in hook_points(neurons, sets).items()]
