"""Alternated timing: contenders take turns, so that a busy machine slows all of them, and ratios are kept by turn."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

# A contender that is shorter than this is called several times a turn.
_SHORTEST_TURN = 0.05


@dataclass(frozen=True)
class Spread:
    """Median of the turns, with the least and the greatest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: np.ndarray) -> "Spread":
        """The spread of one value a turn."""
        return cls(float(np.median(values)), float(values.min()), float(values.max()))


def alternate(contenders: Mapping[str, Callable], turns: int, device: str) -> dict[str, np.ndarray]:
    """Run contenders in turn (A B C A B C ...), each once before to warm up.

    Args:
        contenders: name -> function without arguments.
        turns: of each contender.
        device: whose queue is waited for before a clock is read.

    Returns:
        name -> float64 [turns], seconds a call.
    """
    calls = {name: _calls_a_turn(function, device) for name, function in contenders.items()}
    seconds = {name: np.empty(turns) for name in contenders}
    for turn in range(turns):
        for name, function in contenders.items():
            seconds[name][turn] = _seconds(function, calls[name], device)
    return seconds


def _calls_a_turn(function: Callable, device: str) -> int:
    """How often a function is called for a turn to be long enough; this warms it up, too."""
    seconds = _seconds(function, 1, device)
    if seconds < _SHORTEST_TURN:  # the first call may be slow for reasons of its own
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
