"""Where an activation function has given values."""

import numpy as np
import torch
from torch import nn

# Below this input the functions of `lape.model.modules.is_activation` are flat.
_LOWEST, _STEPS = -30.0, 30_001


@torch.no_grad()
def inputs_of(activation: nn.Module, values: np.ndarray) -> np.ndarray:
    """Inputs at which an activation function has some values.

    The function may fall to a minimum, as SiLU and GELU do, and must rise from there. The input on the rising side is
    taken.

    Args:
        activation: a module that works element by element.
        values: float32 [n].

    Returns:
        float32 [n].

    Raises:
        ValueError: the function does not take a value.
    """
    wanted = torch.from_numpy(values).double()

    def at(inputs: torch.Tensor) -> torch.Tensor:
        return activation(inputs).double()

    grid = torch.linspace(_LOWEST, 0, _STEPS, dtype=torch.float64)
    lower = grid[at(grid).argmin()].expand_as(wanted).clone()
    upper = torch.ones_like(wanted)
    while (at(upper) < wanted).any() and upper.max() < 1e6:
        upper *= 2
    for _ in range(100):
        middle = (lower + upper) / 2
        below = at(middle) < wanted
        lower, upper = torch.where(below, middle, lower), torch.where(below, upper, middle)
    off = (at(upper) - wanted).abs()
    if (worst := int(off.argmax())) >= 0 and off[worst] > 1e-4 * (1 + wanted[worst].abs()):
        raise ValueError(f"its activation function does not take the value {values[worst]:g}")
    return upper.float().numpy()
