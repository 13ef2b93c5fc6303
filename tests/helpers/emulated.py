"""The CUDA kernels on the CPU: their own sources, compiled by g++ with `emulated_cuda` in place of CUDA's headers.

The emulation shows what the kernels compute from what the headers say of CUDA's operations. It does not show what a
device makes of those operations: its approximate functions, its expf and erff, its memory and its time.
"""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import torch
from tiny_data import ROOT

from lape.kernels import ops

_SHIM = Path(__file__).with_name("emulated_cuda")
_KERNELS = ("stats_kernel", "glu_kernel", "nll_kernel")
_FORMATS = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
# kernel<<<grid, block, 0, stream>>>(arguments);
_LAUNCH = re.compile(r"(\w+(?:<[\w, ]+>)?)<<<(.+?), (\w+(?:\([\w, ]+\))?), 0, stream>>>\((.*?)\);", re.DOTALL)


class _Rows(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("outer", "inner", "outer_stride", "inner_stride", "columns")]


class _Sums(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("count", "total", "square", "above", "rows")),
        ("groups", ctypes.c_int64),
        ("thresholds", ctypes.c_int),
        ("threshold", ctypes.c_float * 4),
    ]


def _rows(x: torch.Tensor) -> _Rows:
    """The rows of [R, I] or [A, B, I], whose last dimension is contiguous."""
    if x.dim() == 2:
        return _Rows(1, x.shape[0], 0, x.stride(0), x.shape[1])
    return _Rows(x.shape[0], x.shape[1], x.stride(0), x.stride(1), x.shape[2])


def _sums(sums: ops.Sums) -> _Sums:
    number = len(sums.thresholds)
    values = (ctypes.c_float * 4)(*sums.thresholds, *(0.0,) * (4 - number))
    return _Sums(*(tensor.data_ptr() for tensor in sums[:5]), len(sums.count), number, values)


def _pointer(tensor: torch.Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


class EmulatedKernels:
    """The launches of the kernels, on CPU tensors whose last dimension is contiguous."""

    def __init__(self, folder: Path):
        for source in (*(ROOT / "csrc").iterdir(), *_SHIM.iterdir()):  # the shim's files take the place of csrc's
            if source.stem in _KERNELS or source.suffix in (".h", ".cuh") or source.parent == _SHIM:
                name = f"{source.stem}.cpp" if source.suffix == ".cu" else source.name
                text = _LAUNCH.sub(r"emulated::launch(\2, \3, [=] { \1(\4); });", source.read_text(encoding="utf-8"))
                (folder / name).write_text(text, encoding="utf-8")
        sources = [f"{name}.cpp" for name in (*_KERNELS, "calls")]
        flags = ["-O1", "-std=c++17", "-shared", "-fPIC", "-w", "-ffp-contract=off", "-march=native", "-I."]
        subprocess.run(["g++", *flags, *sources, "-o", "emulated.so"], cwd=folder, check=True)
        self._library = ctypes.CDLL(str(folder / "emulated.so"))

    def activation_stats(self, x, sums, group=None, row_block=32) -> None:
        """`ops.activation_stats`; a thread block takes `row_block` rows, 32 to 256."""
        arguments = (_pointer(x), ctypes.byref(_rows(x)), _pointer(group), ctypes.byref(_sums(sums)), row_block)
        self._library.activation_stats(_FORMATS[x.dtype], *arguments)

    def glu_stats(self, gate, up, activation, sums, group=None, row_block=32) -> torch.Tensor:
        """`ops.glu_stats`; see `activation_stats`."""
        out = torch.empty(gate.shape, dtype=gate.dtype)
        factors = (
            _pointer(gate),
            ctypes.byref(_rows(gate)),
            _pointer(up),
            ctypes.byref(_rows(gate if up is None else up)),
        )
        results = (_pointer(out), _pointer(group), ctypes.byref(_sums(sums)), row_block)
        self._library.glu_stats(_FORMATS[gate.dtype], ops.ACTIVATIONS.index(activation), *factors, *results)
        return out

    def token_nll(self, logits, target) -> torch.Tensor:
        """`ops.token_nll`."""
        nll = torch.empty(len(logits), dtype=torch.float64)
        rows = ctypes.byref(_rows(logits))
        self._library.token_nll(_FORMATS[logits.dtype], _pointer(logits), rows, _pointer(target), _pointer(nll))
        return nll


def obstacle() -> str:
    """Why the kernels cannot be emulated here; empty where they can."""
    return "" if shutil.which("g++") else "no g++ on the path"
