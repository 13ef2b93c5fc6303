"""What a module of a model is: a projection, an activation function, the experts of a mixture; and its sizes."""

from torch import nn


def is_projection(module: nn.Module) -> bool:
    """Whether a module is a linear layer: torch's, transformers' Conv1D, or a quantised one."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, nn.Linear | Conv1D) or (hasattr(module, "in_features") and hasattr(module, "weight"))


def is_activation(module: object) -> bool:
    """Whether something is an activation module: what transformers builds for `hidden_act`, or torch's."""
    from transformers.activations import ACT2CLS

    classes = {entry[0] if isinstance(entry, tuple) else entry for entry in ACT2CLS.values()}
    torchs = {nn.ReLU, nn.GELU, nn.SiLU, nn.Mish, nn.LeakyReLU, nn.ELU, nn.SELU, nn.Softplus, nn.Hardswish}
    return isinstance(module, tuple(classes | torchs))


def output_width(projection: nn.Module) -> int:
    """Number of columns that a linear layer writes."""
    return getattr(projection, "out_features", None) or projection.weight.shape[1]


def input_width(projection: nn.Module) -> int:
    """Number of columns that a linear layer reads. transformers' Conv1D (in GPT-2) stores its weight transposed."""
    return getattr(projection, "in_features", None) or projection.weight.shape[0]


def experts_of(module: nn.Module) -> int:
    """Number of experts whose weights a module holds in tensors [E, ...]; 0 for another module."""
    stacked = {name: len(weight) for name, weight in module.named_parameters(recurse=False) if weight.dim() == 3}
    known = stacked.keys() == {first_projection(module), "down_proj"}
    # Behind the experts that have a down projection there may be some that return what they read.
    return stacked["down_proj"] if known and stacked["down_proj"] <= max(stacked.values()) else 0


def first_projection(module: nn.Module) -> str:
    """The name of the tensor that holds the first projection of all experts of a mixture."""
    return "gate_up_proj" if hasattr(module, "gate_up_proj") else "up_proj"


def is_gated(module: nn.Module) -> bool:
    """Whether the experts of a mixture are GLUs."""
    return hasattr(module, "gate_up_proj")


def is_transposed(module: nn.Module) -> bool:
    """Whether the weights of a mixture's experts are [E, inputs, outputs]."""
    (first_rows, first_columns), (down_rows, down_columns) = (
        getattr(module, name).shape[1:] for name in (first_projection(module), "down_proj")
    )
    if is_gated(module):
        return first_columns == 2 * down_rows and first_rows == down_columns
    return getattr(module, "is_transposed", False)
