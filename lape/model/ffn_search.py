"""Find the FFNs of a decoder by tracing one forward pass, without knowing its architecture.

An FFN reads one tensor by one or two projections, applies an activation function to the columns of one of them,
multiplies the result by those of the other (in a GLU), and hands it to a projection back to the width of the hidden
state. Nothing in between mixes tokens. The gates of attention and of state space models are left out by this: what they
multiply mixes tokens.

The trace follows tensors and looks at no value, so that it works on the meta device too. Whether what it found is right
is for `lape.model.ffn.find_ffn` to check on values.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lape.model.architectures import Architecture
from lape.model.modules import (
    experts_of,
    first_projection,
    input_width,
    is_activation,
    is_gated,
    is_projection,
    is_transposed,
    output_width,
)

_PRODUCTS = frozenset({"mul", "mul_", "multiply", "__mul__", "__rmul__", "__imul__"})
_NONLINEAR = frozenset(
    {"silu", "gelu", "relu", "relu_", "relu6", "leaky_relu", "elu", "celu", "selu", "mish", "hardswish", "softplus"}
    | {
        "sigmoid",
        "sigmoid_",
        "logsigmoid",
        "tanh",
        "tanh_",
        "hardtanh",
        "erf",
        "exp",
        "square",
        "pow",
        "__pow__",
        "abs",
    }
)
# Functions that may carry a value from one token to another, or multiply by a weight that no module holds.
_MIXING = frozenset(
    {"matmul", "__matmul__", "__rmatmul__", "bmm", "baddbmm", "mm", "addmm", "einsum", "linear", "cumsum", "softmax"}
    | {"conv1d", "conv2d", "scaled_dot_product_attention", "roll", "pad", "cat", "stack", "flip", "embedding"}
    | {"index_add", "index_add_", "scatter", "scatter_", "gather", "outer", "dot", "cumprod", "unfold"}
)
# What a decoder may ask of a tensor's value, such as whether a text is longer than those before.
_VALUES = {"__bool__": False, "__contains__": False, "item": 1, "__int__": 1, "__index__": 1, "__float__": 1.0}
_PARTS = frozenset({"chunk", "split", "tensor_split", "unbind", "split_with_sizes"})


class UnknownError(Exception):
    """A module is like an FFN and is not understood. The message names it."""


class Product(NamedTuple):
    """One multiplication of two tensors in the forward pass of a module.

    Attributes:
        module: path of the module.
        number: how many multiplications come before it in that module's own code.
        operand: which operand, 0 or 1.
    """

    module: str
    number: int
    operand: int


class Found(NamedTuple):
    """An FFN that a trace found.

    Attributes:
        modules: paths within the decoder; the activation is "" where a function computes it.
        product: in a GLU, the multiplication whose operand the activation is.
        width: number of neurons, of one expert in a mixture.
        experts: number of experts.
        reads: path of the projection that feeds the activation, unless it is among `modules`.
        normed: whether a norm stands before the down projection, as in BitNet. A neuron that is set to zero then
            changes what the others contribute.
    """

    modules: Architecture
    product: Product | None
    width: int
    experts: int = 1
    reads: str = ""
    normed: bool = False


@dataclass(frozen=True)
class _Fact:
    """What is known of a tensor whose columns come from projections, token by token.

    `reads` names the projections and the parts of their columns; it is None once tokens may be mixed. `activation` is
    the path of the activation module that made the tensor, "" for a function, and None before any. `up` names what the
    activation was multiplied with.
    """

    reads: frozenset[tuple[str, str]] | None
    activation: str | None = None
    up: frozenset[tuple[str, str]] = frozenset()
    product: Product | None = None
    normed: bool = False


_MIXED = _Fact(None)


class Trace(TorchFunctionMode):
    """Follows tensors through a forward pass. `facts` holds what is known of a tensor, by its id."""

    def __init__(self, module: str = "", hidden: int | None = None):
        super().__init__()
        self.hidden = hidden  # width of the hidden state, if it is known
        self.facts: dict[int, _Fact] = {}
        self._kept: list[object] = []  # an id is unique while its tensor lives
        self._stack: list[list] = [[module, 0]]  # path of each module that runs, and multiplications in it
        self._atoms = 0  # modules that run and are not looked into

    def restart(self) -> None:
        """Forget a forward pass that did not end."""
        self.facts.clear()
        self._kept.clear()
        del self._stack[1:]
        self._atoms = 0

    def keep(self, tensor: Tensor) -> int:
        """The id of a tensor, which no other gets during the trace."""
        self._kept.append(tensor)
        return id(tensor)

    def know(self, tensor: Tensor, fact: _Fact | None) -> None:
        self.keep(tensor)
        if fact is None:
            self.facts.pop(id(tensor), None)
        else:
            self.facts[id(tensor)] = fact

    def of(self, tensor: object) -> _Fact | None:
        return self.facts.get(id(tensor))

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        name = getattr(function, "__name__", "")
        if name in _VALUES and getattr(arguments[0], "is_meta", False):
            return _VALUES[name]  # the meta device has no value to look at
        result = function(*arguments, **(keywords or {}))
        if not self._atoms:
            self._note(function, arguments, keywords or {}, result)
        return result

    def _note(self, function: Callable, arguments: tuple, keywords: dict, result: object) -> None:
        name, place = getattr(function, "__name__", ""), None
        if is_product(function, arguments):
            place = self._stack[-1][1]
            self._stack[-1][1] += 1
        operands = [value for value in _flat((*arguments, *keywords.values())) if isinstance(value, Tensor)]
        results = [value for value in _flat((result,)) if isinstance(value, Tensor)]
        self._kept += operands
        known = [fact for fact in map(self.of, operands) if fact is not None]
        if not known or not results:
            for made in results:
                self.know(made, None)
            return
        fact = self._combined(name, operands, known, place)
        for number, made in enumerate(results):
            part = fact
            if name in _PARTS or name == "__getitem__":
                label = f"{name}{arguments[1:] if name == '__getitem__' else number}"
                if fact.reads is not None and fact.activation is None:
                    part = replace(fact, reads=frozenset((path, f"{own}{label}") for path, own in fact.reads))
            self.know(made, part)

    def _combined(self, name: str, operands: list[Tensor], known: list[_Fact], place: int | None) -> _Fact:
        others = [value for value in operands if self.of(value) is None and not _is_constant(value)]
        if name in _MIXING or others or any(fact.reads is None for fact in known):
            return _MIXED
        acted = [fact for fact in known if fact.activation is not None]
        if len({fact.reads for fact in known}) == 1 and len({fact.up for fact in known}) == 1:
            first = known[0]
            if name in _NONLINEAR or (place is not None and len(known) > 1):
                return replace(first, activation="", product=None)
            names = {fact.activation for fact in acted}
            one = acted[0] if acted else first
            return replace(one, activation=names.pop() if len(names) == 1 else "") if names else first
        if place is not None and len(known) == 2 and len(acted) == 1 and not acted[0].up:
            (gate,), (up,) = acted, [fact for fact in known if fact.activation is None]
            operand = 0 if self.of(operands[0]) is gate else 1
            return replace(gate, up=up.reads, product=Product(self._stack[-1][0], place, operand))
        return _MIXED

    def enter(self, path: str) -> None:
        self._stack.append([path, 0])

    def leave(self) -> None:
        self._stack.pop()

    def begin_atom(self) -> None:
        self._atoms += 1

    def end_atom(self) -> None:
        self._atoms -= 1


@torch.no_grad()
def search(decoder: nn.Module, device: torch.device) -> list[Found]:
    """Find the FFNs of a decoder by a forward pass of three tokens.

    Args:
        decoder: a decoder of transformers.
        device: device on which the decoder takes token ids.

    Returns:
        what was found, in the order of the decoder's modules.

    Raises:
        UnknownError: a module is like an FFN, but not understood.
        Exception: the decoder does not run on token ids alone; whatever error it ends in.
    """
    ids = torch.tensor([[0, 1, 2]], device=device)
    trace, found = Trace(hidden=getattr(decoder.config, "hidden_size", None)), {}
    reads: dict[str, int] = {}
    names = dict(decoder.named_modules())
    for name, module in names.items():
        if not experts_of(module) and _holds_experts(module, name):
            raise UnknownError(f"{name} holds the weights of experts in a layout that is not known")
    with contextlib.ExitStack() as stack:
        for name, module in names.items():
            before, after = _watcher(trace, name, names, reads, found)
            stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(after).remove)
            if experts_of(module):
                stack.enter_context(_stubbed(module))
        with trace:
            run_on(decoder, ids, trace.restart, found.clear)
    found |= {name: _mixture(module, name) for name, module in names.items() if experts_of(module)}
    again = [name for name in names if name in found and found[name] is None]
    if again:
        raise UnknownError(f"{again[0]} runs several times in a pass, so that a token has several activations there")
    kept = [found[name] for name in names if name in found]
    uses = Counter(one.modules.activation for one in kept)
    # A module that several FFNs share does not say for which of them it runs.
    return [
        one._replace(modules=one.modules._replace(activation="")) if uses[one.modules.activation] > 1 else one
        for one in kept
    ]


def run_on(decoder: nn.Module, ids: Tensor, *restart: Callable[[], None]) -> Tensor:
    """Run a decoder on token ids, and return its hidden states [B, T, d].

    Some architectures look at values to make a mask, and the meta device has none. They get a mask instead.

    Args:
        decoder: a decoder of transformers.
        ids: int64 [B, T].
        *restart: called before another attempt.

    Raises:
        Exception: the decoder does not run on token ids alone; whatever error it ends in.
    """
    tokens = ids.shape[1]
    mask = torch.zeros(1, 1, tokens, tokens, dtype=decoder.dtype, device=ids.device)
    attempts = ({}, {"attention_mask": mask}, {"attention_mask": torch.ones_like(ids)})
    first = None
    for arguments in attempts:
        try:
            output = decoder(input_ids=ids, use_cache=False, **arguments)
            return output[0]
        except Exception as error:  # decoders fail in many ways
            first = first or error
            for again in restart:
                again()
    raise first


def _holds_experts(module: nn.Module, name: str) -> bool:
    """Whether a module has weights [E, ...] and calls itself experts. A convolution's weights are none."""
    called = "expert" in f"{name.rpartition('.')[2]} {type(module).__name__}".lower()
    return called and any(weight.dim() == 3 for weight in module.parameters(recurse=False))


def is_product(function: Callable, arguments: Sequence) -> bool:
    """Whether a call of a torch function multiplies two tensors element by element."""
    tensors = sum(isinstance(value, Tensor) for value in arguments)
    return tensors > 1 and getattr(function, "__name__", "") in _PRODUCTS


def _watcher(
    trace: Trace, name: str, names: dict[str, nn.Module], reads: dict[str, int], found: dict[str, Found | None]
) -> tuple[Callable, Callable]:
    """Hooks before and after a module that tell the trace what the module does."""
    module = names[name]
    if is_projection(module):

        def enters(own: nn.Module, arguments: tuple, keywords: dict) -> None:
            trace.begin_atom()
            x = next(iter((*arguments, *keywords.values())))
            reads[name] = trace.keep(x)
            one = _of_down(trace.of(x), name, names, reads, trace.hidden)
            if one is not None:
                found[name] = one if name not in found else None  # a module that runs twice cannot be told apart

        def leaves(own: nn.Module, arguments: tuple, output: Tensor) -> None:
            trace.end_atom()
            trace.know(output, _Fact(frozenset({(name, "")})))

        return enters, leaves
    if is_activation(module) or type(module).__name__.lower().endswith("norm"):
        return _atom(trace, module, name)
    if experts_of(module):
        return lambda *_: trace.begin_atom(), lambda *_: trace.end_atom()
    return lambda *_: trace.enter(name), lambda *_: trace.leave()


def _atom(trace: Trace, module: nn.Module, name: str) -> tuple[Callable, Callable]:
    """Hooks for an activation module or a norm, which are not looked into."""
    acts = is_activation(module)
    entered: list[_Fact | None] = []

    def enters(own: nn.Module, arguments: tuple, keywords: dict) -> None:
        trace.begin_atom()
        values = [value for value in (*arguments, *keywords.values()) if isinstance(value, Tensor)]
        known = {fact for fact in map(trace.of, values)}
        entered.append(known.pop() if len(known) == 1 else _MIXED if any(known) else None)

    def leaves(own: nn.Module, arguments: tuple, output: object) -> None:
        trace.end_atom()
        fact = entered.pop()
        if fact is None or not isinstance(output, Tensor):
            return
        if fact.reads is not None:
            fact = replace(fact, activation=name, product=None) if acts else replace(fact, normed=True)
        trace.know(output, fact)

    return enters, leaves


def _of_down(
    fact: _Fact | None, down: str, names: dict[str, nn.Module], reads: dict[str, int], hidden: int | None
) -> Found | None:
    """The FFN that ends in a projection, if what the projection reads is an FFN's activations."""
    if fact is None or fact.reads is None or fact.activation is None:
        return None
    gates, ups = ({path for path, _ in parts} for parts in (fact.reads, fact.up))
    if len(gates) != 1 or len(ups) > 1 or len({reads[path] for path in gates | ups}) != 1:
        return None
    (gate,), up = gates, next(iter(ups), "")
    width = input_width(names[down])
    if not input_width(names[gate]) == output_width(names[down]) == (hidden or output_width(names[down])):
        return None  # an adapter, a router, or a projection to something else than the hidden state
    if output_width(names[gate]) != (2 * width if up == gate else width):
        return None
    paths = Architecture(fact.activation, down, gate if up else "", up if up != gate else "")
    product, first = (fact.product, "") if up else (None, gate)
    return Found(paths, product, width, reads=first, normed=fact.normed)


def _mixture(module: nn.Module, name: str) -> Found:
    """The experts of a mixture, whose weights say how many neurons they have.

    Raises:
        UnknownError: they are GLUs of an unknown kind.
    """
    experts, *sizes = module.down_proj.shape
    width = sizes[0 if is_transposed(module) else 1]
    if is_activation(getattr(module, "act_fn", None)):
        return Found(Architecture(f"{name}.act_fn", "", experts=name), None, width, experts)
    product = _gate_product(module, name, width) if is_gated(module) else None
    if is_gated(module) and product is None:
        raise UnknownError(f"the experts of {name} multiply no activation by an up projection")
    return Found(Architecture("", "", experts=name), product, width, experts)


def _gate_product(module: nn.Module, name: str, width: int) -> Product | None:
    """The multiplication, in the step between the projections of a mixture's experts, of activation and up."""
    weight = getattr(module, first_projection(module))
    joined = torch.ones(2, 2 * width, dtype=weight.dtype, device=weight.device)
    trace = Trace(name)
    trace.know(joined, _Fact(frozenset({(name, "")})))
    with contextlib.ExitStack() as stack:
        for inner, child in module.named_modules(prefix=name):
            if child is not module:
                before, after = _watcher(trace, inner, {inner: child}, {}, {})
                stack.callback(child.register_forward_pre_hook(before, with_kwargs=True).remove)
                stack.callback(child.register_forward_hook(after).remove)
        with trace:
            fact = trace.of(module._apply_gate(joined))
    return fact.product if fact is not None and fact.up else None


@contextlib.contextmanager
def _stubbed(module: nn.Module) -> Iterator[None]:
    """During the block, the experts of a mixture return zeros: which experts a token takes is a value."""
    own = module.__dict__.get("forward")
    module.forward = lambda hidden, *_, **__: torch.zeros_like(hidden)
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own


def _is_constant(tensor: Tensor) -> bool:
    return isinstance(tensor, nn.Parameter) or tensor.numel() == 1


def _flat(values: tuple) -> Iterator[object]:
    return chain.from_iterable(_flat(value) if isinstance(value, tuple | list) else (value,) for value in values)
