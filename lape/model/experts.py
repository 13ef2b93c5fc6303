"""Run the experts of a mixture one by one, so that each expert's activations and projections exist by themselves.

transformers keeps the weights of all experts in two tensors, in one of several layouts that the module's own flags
name (see `use_experts_implementation` of transformers). An expert has no module to put a hook on.
"""

import inspect
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from lape.model.modules import first_projection, is_gated, is_transposed

# (expert, output of the first projection [R, 2 I or I], rows) -> what the down projection reads [R, I]. rows are the
# numbers of the tokens that the expert takes.
Inner = Callable[[int, Tensor, Tensor], Tensor]
# (expert, name of the projection, output [R, ...] of that projection, rows) -> output to use instead.
See = Callable[[int, str, Tensor, Tensor], Tensor]


def experts_forward(
    experts: nn.Module, inner: Inner, last: bool = False, see: See = lambda expert, name, output, rows: output
) -> Callable:
    """A forward function that does what transformers' eager loop over experts does, with rows in the same order.

    Args:
        experts: the module that holds the weights.
        inner: the step between the two projections.
        last: leave the down projection out, and return zeros.
        see: sees both projections.
    """
    if is_stacked(experts):
        return _stacked_forward(experts, inner, last, see)
    first = first_projection(experts)

    def forward(hidden: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        output = torch.zeros_like(hidden)
        for expert in range(len(experts.down_proj)):
            choice, rows = torch.where((top_k_index == expert).T)
            if not len(rows):
                continue
            joined = see(expert, first, _project(experts, first, expert, hidden[rows]), rows)
            product = inner(expert, joined, rows)
            if not last:
                part = see(expert, "down_proj", _project(experts, "down_proj", expert, product), rows)
                output.index_add_(0, rows, (part * top_k_weights[rows, choice, None]).to(output.dtype))
        for expert in range(len(experts.down_proj), len(getattr(experts, first))):  # these return what they read
            choice, rows = torch.where((top_k_index == expert).T)
            output.index_add_(0, rows, (hidden[rows] * top_k_weights[rows, choice, None]).to(output.dtype))
        return output

    return forward


def is_stacked(experts: nn.Module) -> bool:
    """Whether each expert gets a row for every token, zero where it does not take the token, as in Llama 4."""
    return len(inspect.signature(experts.forward).parameters) == 1


def _stacked_forward(experts: nn.Module, inner: Inner, last: bool, see: See) -> Callable:
    """A forward function that multiplies the rows of all experts at once, and shows each expert's own rows."""
    first = first_projection(experts)

    def forward(hidden: Tensor) -> Tensor:
        stacked = hidden.view(len(experts.down_proj), -1, hidden.shape[-1])
        taken = [torch.where(rows.any(-1))[0] for rows in stacked]
        joined = torch.bmm(stacked, getattr(experts, first))
        product = joined.new_zeros(*stacked.shape[:2], experts.down_proj.shape[1])
        for expert, rows in enumerate(taken):
            if len(rows):
                product[expert, rows] = inner(expert, see(expert, first, joined[expert, rows], rows), rows)
        output = torch.zeros_like(stacked) if last else torch.bmm(product, experts.down_proj)
        for expert, rows in enumerate(taken):
            if len(rows) and not last:
                output[expert, rows] = see(expert, "down_proj", output[expert, rows], rows)
        return output.view(-1, hidden.shape[-1])

    return forward


def gated(experts: nn.Module, joined: Tensor) -> Tensor:
    """The step between the projections, as the module itself computes it."""
    if not is_gated(experts):
        return experts.act_fn(joined)
    if hasattr(experts, "_apply_gate"):
        return experts._apply_gate(joined)
    gate, up = joined.chunk(2, dim=-1)
    return experts.act_fn(gate) * up


def is_plain(experts: nn.Module) -> bool:
    """Whether the experts are GLUs whose gate and up lie side by side, and nothing but act(gate) * up is computed."""
    own = getattr(type(experts), "_apply_gate", None)
    default = own is None or own.__module__.startswith("transformers.integrations.")
    return is_gated(experts) and default and getattr(experts, "is_concatenated", True)


def _project(experts: nn.Module, name: str, expert: int, rows: Tensor) -> Tensor:
    weight, bias = getattr(experts, name)[expert], getattr(experts, f"{name}_bias", None)
    if not is_transposed(experts):
        return functional.linear(rows, weight, None if bias is None else bias[expert])
    output = rows @ weight
    return output if bias is None else output + bias[expert]
