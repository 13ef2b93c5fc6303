"""Run a model's FFNs with another GLU step, so that a fused kernel can compute it.

The GLU step is act(gate) * up. The projections around the step stay the model's own.
"""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from lape.kernels import ops, reference
from lape.model.ffn import FFN, device_of, output_width, replaced_forwards

# (layer, expert, gate [..., I], up [..., I] or None, rows) -> act(gate) * up. rows are the numbers of the layer's
# tokens that gate holds; None for all tokens.
Step = Callable[[int, int, Tensor, Tensor | None, Tensor | None], Tensor]
# (layer, expert, "gate_up_proj" or "down_proj", output [R, ...] of that projection, rows) -> output to use instead.
See = Callable[[int, int, str, Tensor, Tensor], Tensor]


def activation_name(module: nn.Module, dtype: torch.dtype, device: torch.device) -> str | None:
    """The name in `lape.kernels.ops.ACTIVATIONS` of the function that a module computes; None for another function.

    The module and the functions are compared on 4,096 values.
    """
    samples = torch.linspace(-12, 12, 2**12, dtype=dtype, device=device)
    with torch.no_grad():
        output = module.forward(samples.clone())  # calls no hooks
        return next((name for name in ops.ACTIVATIONS if torch.equal(output, reference.FUNCTIONS[name](samples))), None)


def fused_activation(ffn: FFN) -> str | None:
    """The activation function of a model, if its FFNs can run with a fused step; None if they cannot.

    Two kinds of FFN are left as they are. One computes something else than a plain GLU: on a few random rows, its own
    forward pass and a forward pass with a plain GLU step differ in some bit. The other has hooks on its activation
    modules, which a fused step would not call.
    """
    part, activations = ffn.architecture, ffn.modules("activation")
    if any(module._forward_hooks or module._forward_pre_hooks for module in activations):
        return None
    dtype = next(weight.dtype for weight in ffn.layers[0].parameters() if weight.is_floating_point())
    name = activation_name(activations[0], dtype, device_of(ffn.layers[0]))
    if name is None or len({type(module) for module in activations}) != 1:
        return None
    if part.gate and not all(_is_a_glu(ffn, layer, dtype) for layer in _unlike(ffn)):
        return None
    return name


def _unlike(ffn: FFN) -> list[int]:
    """Layers to check: one per class of GLU block, and every layer whose block has a forward function of its own."""
    blocks = [_glu_block(layer, ffn) for layer in ffn.layers]
    first_of_class = {type(block): number for number, block in reversed(list(enumerate(blocks)))}
    return sorted({*first_of_class.values(), *(n for n, block in enumerate(blocks) if "forward" in block.__dict__)})


@torch.no_grad()
def _is_a_glu(ffn: FFN, layer: int, dtype: torch.dtype) -> bool:
    """Whether a layer's block gives the same bits as its projections with a plain GLU step between them."""
    one = FFN(ffn.architecture, [ffn.layers[layer]], ffn.width)
    block, (activation,), (down,) = _glu_block(one.layers[0], one), one.modules("activation"), one.modules("down")
    rows = torch.randn(1, 8, output_width(down), generator=torch.Generator().manual_seed(0)).to(device_of(block), dtype)
    expected = block(rows)
    with stepped(one, lambda layer, expert, gate, up, rows: activation(gate) * up, stop=False):
        return torch.equal(block(rows), expected)


@contextlib.contextmanager
def stepped(ffn: FFN, step: Step, stop: bool) -> Iterator[None]:
    """During the block, compute the GLU step of every FFN with `step`.

    Args:
        ffn: the FFNs of a model for which `fused_activation` is not None.
        step: called once per layer and expert in every forward pass.
        stop: compute nothing after the last layer's activation. The output of that layer's FFN is then zero, and the
            decoder's output is of no use.
    """
    with replaced_forwards(_forwards(ffn, step, stop)):
        yield


@contextlib.contextmanager
def experts_seen(ffn: FFN, see: See) -> Iterator[None]:
    """During the block, pass the output of both projections of every expert through `see`.

    A mixture keeps the weights of its experts in two tensors, so that an expert has no module to put a hook on.
    """
    activations = ffn.modules("activation")

    def step(layer: int, expert: int, gate: Tensor, up: Tensor, rows: Tensor) -> Tensor:
        return activations[layer](gate) * up

    experts = enumerate(ffn.modules("experts"))
    with replaced_forwards((module, _experts_forward(module, number, step, see=see)) for number, module in experts):
        yield


@contextlib.contextmanager
def without_last_projection(ffn: FFN) -> Iterator[None]:
    """During the block, the last layer's down projection returns zero and computes nothing."""
    if ffn.architecture.experts:
        yield
        return
    projection = ffn.modules("down")[-1]
    width = output_width(projection)
    with replaced_forwards([(projection, lambda x: x.new_zeros(*x.shape[:-1], width))]):
        yield


def _glu_block(layer: nn.Module, ffn: FFN) -> nn.Module:
    """The module whose forward pass is the GLU: the one that holds its projections."""
    return layer.get_submodule(ffn.architecture.down.rpartition(".")[0])


def _forwards(ffn: FFN, step: Step, stop: bool) -> Iterator[tuple[nn.Module, Callable]]:
    """Yield each module whose forward function is replaced, and the function that replaces it."""
    part = ffn.architecture
    for number, layer in enumerate(ffn.layers):
        last = stop and number == len(ffn.layers) - 1
        if part.experts:
            module = layer.get_submodule(part.experts)
            yield module, _experts_forward(module, number, step, last)
        elif part.gate:
            yield _glu_block(layer, ffn), _glu_forward(layer, ffn, number, step, last)
        else:
            module = layer.get_submodule(part.activation)
            yield module, lambda x, number=number: step(number, 0, x, None, None)


def _glu_forward(layer: nn.Module, ffn: FFN, number: int, step: Step, last: bool) -> Callable:
    part = ffn.architecture
    gate, down = layer.get_submodule(part.gate), layer.get_submodule(part.down)
    up = layer.get_submodule(part.up) if part.up else None

    def forward(x: Tensor) -> Tensor:
        if up is None:
            gated, upped = gate(x).chunk(2, dim=-1)
        else:
            gated, upped = gate(x), None if last else up(x)
        product = step(number, 0, gated, upped, None)
        return torch.zeros_like(x) if last else down(product)

    return forward


def _experts_forward(
    experts: nn.Module, number: int, step: Step, last: bool = False, see: See = lambda *seen: seen[3]
) -> Callable:
    """A forward function that does what transformers' eager loop over experts does, with rows in the same order."""

    def forward(hidden: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        output = torch.zeros_like(hidden)
        for expert in range(len(experts.gate_up_proj)):
            choice, rows = torch.where((top_k_index == expert).T)
            if not len(rows):
                continue
            joined = functional.linear(hidden[rows], experts.gate_up_proj[expert])
            gate, up = see(number, expert, "gate_up_proj", joined, rows).chunk(2, dim=-1)
            product = step(number, expert, gate, up, rows)
            if not last:
                part = functional.linear(product, experts.down_proj[expert])
                part = see(number, expert, "down_proj", part, rows) * top_k_weights[rows, choice, None]
                output.index_add_(0, rows, part.to(output.dtype))
        return output

    return forward
