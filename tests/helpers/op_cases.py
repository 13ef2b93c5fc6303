"""What the operators' tests share: devices, dtypes, layouts, special values."""

import os
import subprocess
import sys

import pytest
import torch
from tiny_data import ROOT

from lape.kernels import ops

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SHORT_DTYPES = DTYPES[1:]
INF, NAN = float("inf"), float("nan")
# Factors that make products of 16-bit numbers tie, overflow, underflow and vanish.
FACTORS = (1.5, -0.34375, 1.0078125, 2.0**-9, -(2.0**-24), 2.0**-126, 2.0**15, -INF, NAN)


def _cuda_obstacle() -> str:
    if not torch.cuda.is_available():
        return "no CUDA device"
    return "" if (ops.build_info() or {}).get("cuda") else "the extension was built without CUDA"


CUDA = pytest.param(
    "cuda", marks=[pytest.mark.cuda, pytest.mark.skipif(bool(_cuda_obstacle()), reason=_cuda_obstacle())]
)
DEVICES = ("cpu", CUDA)
# What may be missing of nine rows' squares of bfloat16 on CUDA, where float32 has no smaller number.
VANISHING = 9 * 2.0**-150
# Each makes a tensor of n columns with `make(*shape)`. Those of EDITABLE have rows at two strides at most.
EDITABLE = {
    "vector": lambda make, n: make(n),
    "matrix": lambda make, n: make(37, n),
    "batch": lambda make, n: make(2, 9, n),
    "no rows": lambda make, n: make(0, n),
    "one row": lambda make, n: make(1, n),
    "many row blocks": lambda make, n: make(64 * 17 + 1, n),
    "sliced columns": lambda make, n: make(33, n + 5)[:, 3 : n + 3],
    "strided rows": lambda make, n: make(66, n)[::2],
    "sliced positions": lambda make, n: make(3, 12, n)[:, 5:],
    "permuted": lambda make, n: make(4, 6, n).transpose(0, 1),
    "first half": lambda make, n: make(3, 23, 2 * n)[..., :n],
    "second half": lambda make, n: make(1, 65, 2 * n)[..., n:],
}
LAYOUTS = EDITABLE | {
    "transposed": lambda make, n: make(n, 33).t(),
    "strided columns": lambda make, n: make(20, 2 * n)[:, ::2],
    "three strides": lambda make, n: make(2, 3, 4, 7, n)[:, :2, :3, 1:6],
    "expanded rows": lambda make, n: make(1, n).expand(20, n),
    "expanded columns": lambda make, n: make(20, 1).expand(20, n),
}


def eighths(dtype, device):
    """Makes tensors of small multiples of 1/8: float64 sums of them and of their squares are exact in any order."""
    return lambda *shape: (torch.randint(-32, 33, shape) / 8).to(device, dtype)


def normal(dtype, device):
    """Makes tensors of normal deviates."""
    return lambda *shape: (3 * torch.randn(shape)).to(device, dtype)


def every_pattern(dtype, device="cpu"):
    """All 65,536 values of a 16-bit format, one a column."""
    return torch.arange(2**16, dtype=torch.int32).to(torch.uint16).view(dtype).to(device)


def smallest(dtype):
    """The smallest subnormal: rounding it to a wider flush-to-zero format would lose it."""
    return torch.tensor([1], dtype=torch.int32 if dtype == torch.float32 else torch.int16).view(dtype)


def assert_bits(actual, expected):
    """Equal bit for bit, signs of zeros too; any NaN for any NaN."""
    assert actual.dtype == expected.dtype and actual.shape == expected.shape
    kind = torch.int32 if actual.dtype == torch.float32 else torch.int16
    differ = actual.contiguous().view(kind) != expected.contiguous().view(kind)
    differ &= ~(actual.isnan() & expected.isnan())
    assert not differ.any(), f"{differ.sum()} of {differ.numel()}: {actual[differ][:5]} for {expected[differ][:5]}"


def assert_sums(actual, expected, atol=0, rounding=(0, 0)):
    """Equal integers; float64 sums equal to the last bit, or within `atol` and what `rounding_of` allows."""
    for name in ("count", "above", "rows"):
        assert torch.equal(getattr(actual, name), getattr(expected, name)), name
    for name, step in zip(("total", "square"), rounding, strict=True):
        got, exact = getattr(actual, name), getattr(expected, name)
        close = got.isfinite() & exact.isfinite() & ((got - exact).abs() <= atol + step)
        wrong = ~(close | (got == exact) | (got.isnan() & exact.isnan()))
        assert not wrong.any(), f"{name}: {wrong.sum()} of {wrong.numel()}: {got[wrong][:5]} for {exact[wrong][:5]}"


def rounding_of(x, sums, group=None):
    """How far the CUDA kernels' totals and squares of x may be off.

    Values of 16 bits are added in float32, eight rows at a time, each sum within 2^-21 of the sum of its absolute
    terms. Squares of bfloat16 below 2^-126 are rounded to multiples of 2^-149. Values of float32 are added in float64.
    """
    rows = x.shape[:-1].numel()
    sizes = ops.Sums.zeros(x.shape[-1], len(sums.count), device=x.device)
    ops.activation_stats(x.abs(), sizes, group, backend="reference")
    step, smallest_square = (rows * 2.0**-52, 0) if x.dtype == torch.float32 else (2.0**-21, 2.0**-150)
    return step * sizes.total, step * sizes.square + rows * smallest_square


def random_sums(neurons, groups, thresholds, device):
    """Sums over something already, in eighths."""
    sums = ops.Sums.zeros(neurons, groups, thresholds, device)
    for tensor in sums[:5]:
        tensor.copy_(torch.randint(0, 800, tensor.shape) / (8 if tensor.is_floating_point() else 1))
    return sums


def copy_of(sums):
    """The same sums elsewhere in memory."""
    return type(sums)(*(value.clone() if isinstance(value, torch.Tensor) else value for value in sums))


def groups_of(x, low, high):
    """A random group for each row of x, from `low` up to but not `high`."""
    return torch.randint(low, high, x.shape[:-1], device=x.device)


def with_threads(number, function):
    """The result of a function that runs on a number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        return function()
    finally:
        torch.set_num_threads(before)


def run_python(code, **environment):
    """Runs code in a new process, from the repository's root."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True
    )
