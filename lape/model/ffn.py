"""Where a decoder computes its FFN activations: the modules of every layer, by the table or by a probe.

A neuron is one column of the FFN's first projection, followed by the activation function (Tang et al. 2024, section
2.1). In a GLU it is a column of the gate (Eq. 3), and in a mixture of experts a column of one expert's gate. Recordings
and perturbations therefore act on the output of the activation function, before the up projection multiplies it.
"""

import contextlib
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from lape.errors import LapeError
from lape.machine import ranks
from lape.model.architectures import ARCHITECTURES, Architecture
from lape.model.ffn_search import probe_ffn


@dataclass(frozen=True)
class FFN:
    """The FFNs of a model's L layers, in order.

    Attributes:
        architecture: the paths of the modules, from the table or from a probe.
        layers: the decoder layers.
        width: number of neurons in one FFN, or in one expert.
        experts: number of experts in a layer; 1 in a dense FFN. Neuron j of expert e is number e * width + j of its
            layer.
        ranks: number of ranks that share the columns of every activation. Each has an equal block, in the order of the
            ranks; see `lape.machine.ranks`.
        rank: number of this process among the ranks.
    """

    architecture: Architecture
    layers: list[nn.Module] = field(repr=False)
    width: int
    experts: int = 1
    ranks: int = 1
    rank: int = 0

    @property
    def own_width(self) -> int:
        """Number of neurons of one FFN that this rank computes, which are the columns of its activation."""
        return self.width // self.ranks

    @property
    def own_first(self) -> int:
        """Number of the first neuron of one FFN that this rank computes."""
        return self.rank * self.own_width

    @property
    def shape(self) -> tuple[int, int]:
        """(L, I): layers and neurons per layer, over all experts."""
        return len(self.layers), self.experts * self.width

    def saw(self, rows: int, tokens: int) -> bool:
        """Whether a layer whose activations were seen at `rows` rows has seen all of `tokens` tokens.

        A mixture routes every token to the same number of experts, which may be more than one.
        """
        return rows == tokens or (self.experts > 1 and tokens > 0 and rows > 0 and rows % tokens == 0)

    def modules(self, part: str) -> list[nn.Module]:
        """The module of every layer at one path of the architecture, such as the path `activation`."""
        return [layer.get_submodule(getattr(self.architecture, part)) for layer in self.layers]


def find_ffn(model: nn.Module) -> FFN:
    """Find the FFNs of a Hugging Face causal LM.

    An architecture that the table lacks is probed: a forward pass of a few tokens shows which activation module feeds
    which projection.

    Raises:
        LapeError: the FFN cannot be found, or the layers differ in their number of neurons.
    """
    decoder = model.get_decoder()
    model_type = decoder.config.model_type
    architecture = ARCHITECTURES.get(model_type)
    if architecture is None:
        architecture = Architecture(*probe_ffn(decoder, model_type, input_device(model)))
    layers = _layers(decoder, architecture, model_type)
    ffn = FFN(architecture, layers, 0)
    if architecture.experts:
        shapes = {
            (module.gate_up_proj.shape[1] // 2, module.gate_up_proj.shape[0]) for module in ffn.modules("experts")
        }
    else:
        shapes = {(_input_width(module), 1) for module in ffn.modules("down")}
    if len({id(module) for module in ffn.modules("activation")}) != len(layers):
        raise LapeError(f"architecture {model_type!r}: layers share one activation module and cannot be told apart")
    if len(shapes) != 1:
        widths = sorted(width for width, _ in shapes)
        raise LapeError(f"architecture {model_type!r}: layers differ in their number of neurons ({widths})")
    spread = {ranks.of_input(decoder, architecture.down, module) for module in ffn.modules("down")}
    if len(spread) > 1:
        raise LapeError(f"architecture {model_type!r}: some layers alone are spread over ranks; use device_map: auto")
    return FFN(architecture, layers, *shapes.pop(), *spread.pop())


@contextlib.contextmanager
def activation_hooks(
    ffn: FFN, layers: Iterable[int], see: Callable[[int, torch.Tensor], torch.Tensor | None]
) -> Iterator[None]:
    """During the block, call see(layer, activation) after the activation modules of some layers.

    A value that it returns replaces the activation; None leaves the activation as it is. The hooks are removed however
    the block ends.
    """
    modules = ffn.modules("activation")

    def hook(layer: int) -> Callable:
        return lambda module, inputs, output: see(layer, output)

    handles = [modules[layer].register_forward_hook(hook(layer)) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


# Modules whose forward pass is replaced at the moment.
_replaced: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def check_not_replaced(ffn: FFN) -> None:
    """Raise LapeError where a recording or a perturbation has replaced an FFN's forward pass: hooks would not fire."""
    if any(module in _replaced for layer in ffn.layers for module in layer.modules()):
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


def device_of(module: nn.Module) -> torch.device:
    """The device that a module computes on: that of its weights, or the one that accelerate moves them to."""
    hook = next((part._hf_hook for part in module.modules() if hasattr(part, "_hf_hook")), None)
    moved = getattr(hook, "execution_device", None)
    if moved is not None:
        return torch.device(moved)
    return next((weight.device for weight in module.parameters()), torch.device("cpu"))


def input_device(model: nn.Module) -> torch.device:
    """The device on which a model takes its token ids."""
    return device_of(model.get_input_embeddings())


def output_width(projection: nn.Module) -> int:
    """Number of columns that a linear layer writes."""
    return getattr(projection, "out_features", None) or projection.weight.shape[1]


def _input_width(projection: nn.Module) -> int:
    """Number of columns that a linear layer reads. transformers' Conv1D (in GPT-2) stores its weight transposed."""
    return getattr(projection, "in_features", None) or projection.weight.shape[0]


def _layers(decoder: nn.Module, architecture: Architecture, model_type: str) -> list[nn.Module]:
    """The decoder layers: the members of the module list whose members all have the FFN's modules."""

    def has_ffn(layer: nn.Module) -> bool:
        try:
            return all(isinstance(layer.get_submodule(path), nn.Module) for path in architecture if path)
        except AttributeError:
            return False

    lists = [child for child in decoder.children() if isinstance(child, nn.ModuleList)]
    found = [layers for layers in lists if len(layers) and all(has_ffn(layer) for layer in layers)]
    if len(found) != 1:
        wanted = ", ".join(path for path in architecture if path)
        raise LapeError(
            f"architecture {model_type!r}: no list of layers that all have {wanted}; "
            "mend its entry in lape/model/architectures.py"
        )
    return list(found[0])
