"""Time contenders in turns, so that a busy machine slows all of them. Ratios are taken turn by turn."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

# Seconds. A contender that takes less is called several times per turn.
_SHORTEST_TURN = 0.05


@dataclass(frozen=True)
class Spread:
    """Median, least and greatest value of the turns."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: np.ndarray) -> "Spread":
        """The spread of values, one per turn."""
        return cls(float(np.median(values)), float(values.min()), float(values.max()))


def alternate(contenders: Mapping[str, Callable], turns: int, device: str) -> dict[str, np.ndarray]:
    """Run contenders in turns (A B C A B C ...), after one call of each to warm up.

    Args:
        contenders: name -> function without arguments.
        turns: number of turns of each contender.
        device: device whose queue must be empty before the clock is read.

    Returns:
        name -> seconds per call in each turn, float64 [turns].
    """
    calls = {name: _calls_a_turn(function, device) for name, function in contenders.items()}
    seconds = {name: np.empty(turns) for name in contenders}
    for turn in range(turns):
        for name, function in contenders.items():
            seconds[name][turn] = _seconds(function, calls[name], device)
    return seconds


def _calls_a_turn(function: Callable, device: str) -> int:
    """How often a function must be called for a turn to be long enough. Finding out warms it up too."""
    seconds = _seconds(function, 1, device)
    if seconds < _SHORTEST_TURN:  # the first call may have been slow because it was the first
        seconds = _seconds(function, 1, device)
    return max(1, math.ceil(_SHORTEST_TURN / seconds))


def _seconds(function: Callable, calls: int, device: str) -> float:
    _wait(device)
    start = time.perf_counter()
    for _ in range(calls):
        function()
    _wait(device)
    return (time.perf_counter() - start) / calls


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)
