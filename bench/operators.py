"""Section 4: each operator against a copy that reads and writes as many bytes."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from bench.report import Row
from bench.setting import Setting
from bench.timing import Spread, alternate
from lape.kernels import ops

_DTYPES = (torch.bfloat16, torch.float32)
_EDITED = 0.01  # share of the neurons that ffn_edit edits
_SCALE = 3  # the mode of ffn_edit: with a scale of -1 it changes every activation on every call


def operator_rows(setting: Setting) -> Iterator[Row]:
    """Time every operator on arrays that are larger than the cache."""
    for dtype in _DTYPES:
        for model, width in setting.widths.items():
            gate = _array(width, dtype, setting)
            up = gate.clone()
            sums = ops.Sums.zeros(width, device=setting.device)
            label = f"{model} {_name(gate)}"
            count = partial(ops.activation_stats, gate, sums)
            yield _bandwidth(f"activation_stats {label}", count, gate, gate.nbytes, setting)
            fused = partial(ops.glu_stats, gate, up, "silu", sums)
            yield _bandwidth(f"glu_stats {label}", fused, gate, 3 * gate.nbytes, setting)
            edit = partial(ops.ffn_edit, gate, _edits(width, setting.device))
            yield _edit_row(f"ffn_edit {label}", edit, gate, setting)
        logits = _array(setting.vocabulary, dtype, setting)
        target = torch.randint(0, setting.vocabulary, (len(logits),), device=setting.device)
        reduce = partial(ops.token_nll, logits, target)
        yield _bandwidth(f"token_nll {_name(logits)}", reduce, logits, logits.nbytes, setting)


def _array(width: int, dtype: torch.dtype, setting: Setting) -> Tensor:
    """Normal values [rows, width], as many bytes as the setting says. A few rows are drawn and repeated."""
    rows = setting.array // (width * dtype.itemsize)
    drawn = torch.randn(64, width, device=setting.device).to(dtype)
    return drawn.repeat(-(-rows // 64), 1)[:rows]


def _name(x: Tensor) -> str:
    return f"{str(x.dtype).removeprefix('torch.')} {[*x.shape]}"


def _edits(width: int, device: str) -> "ops.Edits":
    """One perturbation of 1% of the neurons."""
    index = torch.randperm(width, device=device)[: max(1, round(width * _EDITED))].sort().values
    return ops.Edits(
        index=index,
        mode=torch.full_like(index, _SCALE),
        value=torch.full(index.shape, -1.0, device=device),
        offset=torch.tensor([0, len(index)], device=device),
        changed=torch.zeros(1, dtype=torch.int64, device=device),
    )


def _copy(x: Tensor, size: int) -> Callable:
    """A copy that reads and writes `size` bytes in all."""
    source = x.flatten()
    source = source.repeat(-(-size // (2 * x.nbytes)))[: size // (2 * x.itemsize)]
    return partial(torch.empty_like(source).copy_, source)


def _bandwidth(what: str, function: Callable, x: Tensor, size: int, setting: Setting) -> Row:
    """Bytes/s of an operator over those of a copy of as many bytes."""
    seconds = alternate({"operator": function, "copy": _copy(x, size)}, setting.turns, setting.device)
    speed = {name: size / np.median(taken) / 1e9 for name, taken in seconds.items()}
    note = f"{speed['operator']:,.1f} of {speed['copy']:,.1f} GB/s"
    goal = ("at least", setting.bandwidth)
    return Row(4, what, Spread.of(seconds["copy"] / seconds["operator"]), goal=goal, note=note)


def _edit_row(what: str, function: Callable, x: Tensor, setting: Setting) -> Row:
    """Seconds of an edit, which touches 1% of the activations, over those of copying all of them."""
    seconds = alternate({"operator": function, "copy": _copy(x, 2 * x.nbytes)}, setting.turns, setting.device)
    medians = {name: np.median(taken) * 1e3 for name, taken in seconds.items()}
    note = f"{medians['operator']:.3f} of {medians['copy']:.3f} ms, for {_EDITED:.0%} of the neurons"
    return Row(4, what, Spread.of(seconds["operator"] / seconds["copy"]), unit="of a copy", note=note)
