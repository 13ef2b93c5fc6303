"""The two hot loops as operators: counting activations, and the negative log-likelihood of a token.

Each has three equal implementations: plain torch (`reference_...`, the oracle), C++ for the CPU and CUDA. The
schema is defined here whether or not the extension is built, so that an exported or compiled graph can name
the operator anywhere. Neither operator has a gradient.
"""

import importlib
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from lape.errors import LapeError
from lape.source import source_hash

BACKENDS = ("extension", "reference")
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_BUILD = "build it with `pip install --no-build-isolation -e .`, or set backend: reference"

_library = torch.library.Library("lape", "DEF")
_tags = (torch.Tag.pt2_compliant_tag,)
_library.define("activation_stats(Tensor x, Tensor(a!) count, Tensor(b!) total) -> ()", tags=_tags)
_library.define("token_nll(Tensor logits, Tensor target) -> Tensor", tags=_tags)


def _load() -> tuple[ModuleType | None, str]:
    """The compiled module, or None and what to do: absence is no fault until an operator is called."""
    running = torch.__version__.split("+")[0]
    try:
        extension = importlib.import_module("lape._C")
        info = extension.build_info()
    except ModuleNotFoundError:
        return None, f"lape._C: the compiled extension is not built; {_BUILD}"
    except ImportError as error:
        return None, f"lape._C: the compiled extension does not load ({str(error).splitlines()[0]}); {_BUILD}"
    except RuntimeError as error:  # LAPE_SIMD names what this processor does not have
        return None, str(error)
    if info["torch"] != running:
        return None, f"lape._C: the compiled extension was built for torch {info['torch']}, not {running}; {_BUILD}"
    sources = Path(__file__).parent.parent / "csrc"
    if sources.is_dir() and info["source"] != source_hash(sources):  # an edit that was not compiled
        return None, f"lape._C: csrc/ is not what the extension was compiled from; {_BUILD}"
    return extension, ""


_extension, _fault = _load()


def build_info() -> dict | None:
    """Compiler, C++ standard, torch, CUDA and SIMD level of the extension; None where there is none to use."""
    return None if _extension is None else _extension.build_info()


def active_backend(device: torch.device | str, backend: str = "extension") -> str:
    """The implementation that runs on a device, as artifacts record it.

    Args:
        device: where the tensors lie.
        backend: "extension" or "reference".

    Returns:
        "cpp", "cuda" or "reference".

    Raises:
        LapeError: no such backend, or the extension has no kernel for the device.
    """
    if backend not in BACKENDS:
        raise LapeError(f"backend: {backend!r} is unknown; use one of {', '.join(BACKENDS)}")
    if backend == "reference":
        return "reference"
    if _extension is None:
        raise LapeError(_fault)
    kind = torch.device(device).type
    if kind == "cuda" and not _extension.build_info()["cuda"]:
        raise LapeError(f"lape._C: the compiled extension was built without CUDA; with CUDA's nvcc installed {_BUILD}")
    if kind not in ("cpu", "cuda"):
        raise LapeError(f"lape._C: the compiled extension has no kernel for {kind}; set backend: reference")
    return "cpp" if kind == "cpu" else "cuda"


def activation_stats(x: Tensor, count: Tensor, total: Tensor, backend: str = "extension") -> None:
    """Add to each neuron's number of activations and to its sum of activations, in place.

    A neuron is activated where the value is above zero in its own dtype (Tang et al. 2024, section 2.2). The
    result is the same to the last bit on every run; on the CPU also for every number of threads and however
    the rows are split into calls. A NaN is never counted, and makes the neuron's total NaN.

    Args:
        x: activations [..., I], float32, bfloat16 or float16, any strides.
        count: int64 [I], contiguous; the number of rows with x > 0 is added.
        total: float64 [I], contiguous; the sum of x is added.
        backend: "extension" or "reference".

    Raises:
        LapeError: the extension cannot run on x's device.
        RuntimeError: a wrong shape, dtype or device.
    """
    if active_backend(x.device, backend) == "reference":
        reference_activation_stats(x, count, total)
    else:
        torch.ops.lape.activation_stats(x, count, total)


def token_nll(logits: Tensor, target: Tensor, backend: str = "extension") -> Tensor:
    """Negative log-likelihood of each row's target, in nats: logsumexp(logits[r]) - logits[r, target[r]].

    The extension reads the logits once and makes no float32 copy of them; its error is below 1e-5 nats.

    Args:
        logits: [R, V], float32, bfloat16 or float16, any strides.
        target: int64 [R], in [0, V).
        backend: "extension" or "reference".

    Returns:
        float64 [R]; NaN where the row holds a NaN.

    Raises:
        LapeError: the extension cannot run on the device.
        RuntimeError: a wrong shape, dtype or device, or on the CPU a target out of range. Elsewhere such a
            row is NaN, since to raise would mean to wait for the device.
    """
    if active_backend(logits.device, backend) == "reference":
        return reference_token_nll(logits, target)
    return torch.ops.lape.token_nll(logits, target)


@torch.no_grad()
def reference_activation_stats(x: Tensor, count: Tensor, total: Tensor) -> None:
    """`activation_stats` in plain torch, on any device."""
    _check_statistics(x, count, total)
    rows = x[None] if x.dim() == 1 else x.flatten(0, -2)  # [R, I]
    count += (rows > 0).sum(0)
    total += rows.sum(0, dtype=torch.float64)


@torch.no_grad()
def reference_token_nll(logits: Tensor, target: Tensor) -> Tensor:
    """`token_nll` in plain torch and float64, on any device."""
    _check_nll(logits, target)
    vocabulary = logits.shape[1]
    inside = (target >= 0) & (target < vocabulary)
    if logits.device.type == "cpu" and not inside.all():
        raise RuntimeError(f"target {target[~inside][0].item()} is outside the vocabulary of {vocabulary}")
    values = logits.double()
    chosen = values.gather(1, target.where(inside, 0)[:, None])[:, 0]
    return (values.logsumexp(1) - chosen).where(inside, torch.nan)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise RuntimeError(message)


def _check_statistics(x: Tensor, count: Tensor, total: Tensor) -> None:
    _require(x.dtype in _DTYPES, f"x must be float32, bfloat16 or float16, not {x.dtype}")
    _require(x.dim() >= 1, "x must have at least one dimension, the neurons")
    _require(count.dtype == torch.int64, f"count must be int64, not {count.dtype}")
    _require(total.dtype == torch.float64, f"total must be float64, not {total.dtype}")
    neurons = x.shape[-1:]
    for sums in (count, total):
        _require(sums.shape == neurons, f"count and total must have shape {[*neurons]}, not {[*sums.shape]}")
        _require(sums.device == x.device, f"x, count and total must be on one device, not {x.device}, {sums.device}")
        _require(sums.is_contiguous(), "count and total must be contiguous")


def _check_nll(logits: Tensor, target: Tensor) -> None:
    _require(logits.dtype in _DTYPES, f"logits must be float32, bfloat16 or float16, not {logits.dtype}")
    _require(logits.dim() == 2, f"logits must have shape [rows, vocabulary], not {[*logits.shape]}")
    _require(target.dtype == torch.int64, f"target must be int64, not {target.dtype}")
    rows = logits.shape[:1]
    _require(target.shape == rows, f"target must have shape {[*rows]}, not {[*target.shape]}")
    devices = f"{logits.device}, {target.device}"
    _require(target.device == logits.device, f"logits and target must be on one device, not {devices}")


@torch.library.register_fake("lape::activation_stats", lib=_library)
def _(x: Tensor, count: Tensor, total: Tensor) -> None:
    _check_statistics(x, count, total)


@torch.library.register_fake("lape::token_nll", lib=_library)
def _(logits: Tensor, target: Tensor) -> Tensor:
    _check_nll(logits, target)
    return logits.new_empty(logits.shape[0], dtype=torch.float64)
