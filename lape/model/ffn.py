"""Where a decoder computes its FFN activations: the modules of every layer, by the table or by a probe.

A neuron is one column of the FFN's first projection followed by the activation function (Tang et al. 2024,
section 2.1); in a GLU it is a column of the gate (Eq. 3), in a mixture of experts a column of one expert's gate.
What is observed or edited is therefore the output of the activation function, before the up projection
multiplies it.
"""

import contextlib
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
        width: neurons of one FFN, or of one expert.
        experts: experts of a layer; 1 in a dense FFN. Neuron j of expert e is number e * width + j of its layer.
        ranks: how many ranks share the columns of every activation, each an equal block in their order.
        rank: which of them this process is; see `lape.machine.ranks`.
    """

    architecture: Architecture
    layers: list[nn.Module] = field(repr=False)
    width: int
    experts: int = 1
    ranks: int = 1
    rank: int = 0

    @property
    def own_width(self) -> int:
        """Neurons of one FFN that this process computes: columns of the activation."""
        return self.width // self.ranks

    @property
    def own_first(self) -> int:
        """The first of them."""
        return self.rank * self.own_width

    @property
    def shape(self) -> tuple[int, int]:
        """(L, I): layers and neurons per layer, over all experts."""
        return len(self.layers), self.experts * self.width

    def saw(self, rows: int, tokens: int) -> bool:
        """Whether activations of a layer that were seen at so many rows are those of all tokens.

        A mixture routes every token to several experts, to as many in every layer.
        """
        return rows == tokens or (self.experts > 1 and tokens > 0 and rows > 0 and rows % tokens == 0)

    def modules(self, part: str) -> list[nn.Module]:
        """The module of every layer at one of the architecture's paths, such as "activation"."""
        return [layer.get_submodule(getattr(self.architecture, part)) for layer in self.layers]


def find_ffn(model: nn.Module) -> FFN:
    """Find the FFNs of a Hugging Face causal LM.

    An architecture that the table does not have is probed: a forward pass of a few tokens shows which activation
    module feeds which projection.

    Raises:
        LapeError: the FFN cannot be found, or layers differ in their number of neurons.
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
    """Call see(layer, activation) behind some layers' activation modules for the time of a block.

    What it returns, unless None, takes the activation's place. The hooks go however the block ends.
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


# Modules whose forward pass is another one for the time being.
_replaced: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def check_not_replaced(ffn: FFN) -> None:
    """Raise LapeError where FFNs are computed by a recording or a perturbation already: hooks would not fire."""
    if any(module in _replaced for layer in ffn.layers for module in layer.modules()):
        raise LapeError(
            "the model's FFNs are recorded or perturbed already; leave that block, or record with fused=False"
        )


@contextlib.contextmanager
def replaced_forwards(forwards: Iterable[tuple[nn.Module, Callable]]) -> Iterator[None]:
    """Other forward functions, each on its module, for the time of a block."""
    with contextlib.ExitStack() as stack:
        for module, forward in forwards:
            # accelerate, where it moves a module's weights, keeps the forward that it wraps under this name.
            name = "_old_forward" if hasattr(module, "_hf_hook") else "forward"
            stack.callback(_restore, module, name, module.__dict__.get(name))
            setattr(module, name, forward)
            _replaced.add(module)
        yield


@contextlib.contextmanager
def recompiled(decoder: nn.Module) -> Iterator[None]:
    """Let torch.compile, where it is on, trace the decoder anew in a block, and again behind it."""
    if decoder._compiled_call_impl is None:
        yield
        return
    torch.compiler.reset()
    try:
        yield
    finally:
        torch.compiler.reset()


def _restore(module: nn.Module, name: str, previous: Callable | None) -> None:
    _replaced.discard(module)
    if previous is None:
        delattr(module, name)
    else:
        setattr(module, name, previous)


def device_of(module: nn.Module) -> torch.device:
    """Where a module computes: the device of its weights, or the one that accelerate brings them to."""
    hook = next((part._hf_hook for part in module.modules() if hasattr(part, "_hf_hook")), None)
    moved = getattr(hook, "execution_device", None)
    if moved is not None:
        return torch.device(moved)
    return next((weight.device for weight in module.parameters()), torch.device("cpu"))


def input_device(model: nn.Module) -> torch.device:
    """Where a model takes its token ids."""
    return device_of(model.get_input_embeddings())


def output_width(projection: nn.Module) -> int:
    """Columns that a linear layer writes."""
    return getattr(projection, "out_features", None) or projection.weight.shape[1]


def _input_width(projection: nn.Module) -> int:
    """Columns that a linear layer reads; transformers' Conv1D (GPT-2) stores its weight transposed."""
    return getattr(projection, "in_features", None) or projection.weight.shape[0]


def _layers(decoder: nn.Module, architecture: Architecture, model_type: str) -> list[nn.Module]:
    """The members of the one module list of the decoder that all have the FFN's modules."""

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
