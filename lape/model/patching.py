"""Give modules another forward pass for a while, and let compiled code know of it."""

import contextlib
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import nn

from lape.errors import LapeError

# Modules whose forward pass is replaced at the moment.
_replaced: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def check_not_replaced(layers: Iterable[nn.Module]) -> None:
    """Check that no recording or perturbation has replaced a forward pass in some layers: hooks would not fire.

    Raises:
        LapeError: one has.
    """
    if any(module in _replaced for layer in layers for module in layer.modules()):
        raise LapeError(
            "the model's FFNs are recorded or perturbed already; leave that block, or record with fused=False"
        )


@contextlib.contextmanager
def replaced_forwards(forwards: Iterable[tuple[nn.Module, Callable]]) -> Iterator[None]:
    """During the block, replace the forward functions of some modules."""
    with contextlib.ExitStack() as stack:
        for module, forward in forwards:
            # Where accelerate moves a module's weights, it wraps the forward function and keeps it under this name.
            name = "_old_forward" if hasattr(module, "_hf_hook") else "forward"
            stack.callback(_restore, module, name, module.__dict__.get(name))
            setattr(module, name, forward)
            _replaced.add(module)
        yield


@contextlib.contextmanager
def traced_anew() -> Iterator[None]:
    """Let torch.compile trace everything again in the block, and once more after it.

    Compiled code knows neither a hook nor a replaced forward pass that came after it was traced. It may be the model's,
    its decoder's or a layer's, or a wrapper around one of these that the model does not know.
    """
    _forget_traces()
    try:
        yield
    finally:
        _forget_traces()


def _forget_traces() -> None:
    """Forget all compiled code, where there is any. Without torch._dynamo, which is slow to import, there is none."""
    dynamo = sys.modules.get("torch._dynamo")
    if dynamo is not None and dynamo.eval_frame.cached_backends:
        torch.compiler.reset()


def _restore(module: nn.Module, name: str, previous: Callable | None) -> None:
    _replaced.discard(module)
    if previous is None:
        delattr(module, name)
    else:
        setattr(module, name, previous)
