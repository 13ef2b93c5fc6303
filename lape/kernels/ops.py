"""The hot loops as operators: activation statistics, the GLU step, edits, a token's likelihood, average precision.

Each operator has three equal implementations: plain torch (`lape.kernels.reference`, the oracle), C++ for the CPU, and
CUDA. The exception is average precision, which has no CUDA kernel: on a GPU its reference runs. The schemas are defined
here whether or not the extension is built, so that an exported or compiled graph can name an operator anywhere. No
operator has a gradient.
"""

import functools
import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from lape.errors import LapeError
from lape.kernels import reference
from lape.kernels.source_hash import source_hash

logger = logging.getLogger(__name__)

BACKENDS = ("extension", "reference")
# The activation functions that `glu_stats` knows. It computes them as transformers' modules do.
ACTIVATIONS = ("silu", "gelu", "gelu_tanh", "relu", "relu2", "quick_gelu")
# Ways to edit an activation: set it to the value, take the larger of the two, add the value, multiply by the value.
MODES = ("set", "max", "add", "scale")
_BUILD = "build it with `pip install --no-build-isolation -e .`, or set backend: reference"

_SUMS = "Tensor(a!) count, Tensor(b!) total, Tensor(c!) square, Tensor(d!) above, Tensor(e!) rows"
_library = torch.library.Library("lape", "DEF")
for _schema in (
    f"activation_stats(Tensor x, Tensor? group, float[] thresholds, {_SUMS}) -> ()",
    f"glu_stats(Tensor gate, Tensor? up, str activation, Tensor? group, float[] thresholds, {_SUMS}) -> Tensor",
    # This operator writes its result into the gate. It is for the CPU alone, where memory in the cache is faster.
    f"glu_stats_(Tensor(f!) gate, Tensor? up, str activation, Tensor? group, float[] thresholds, {_SUMS}) -> ()",
    # The argument is called kind: one called mode would collide with an argument of torch's own when torch traces.
    "ffn_edit(Tensor(a!) x, Tensor index, Tensor kind, Tensor value, Tensor offset, Tensor? choice, Tensor(b!) changed)"
    " -> ()",
    "token_nll(Tensor logits, Tensor target) -> Tensor",
    "average_precision(Tensor responses, Tensor labels, int languages) -> Tensor",
):
    _library.define(_schema, tags=(torch.Tag.pt2_compliant_tag,))


def _load() -> tuple[ModuleType | None, str]:
    """The compiled module, or None and a message. A missing module is no fault until an operator is called."""
    running = torch.__version__.split("+")[0]
    sources = Path(__file__).parents[2] / "csrc"
    found = importlib.util.find_spec("lape.kernels._C")
    # The hash of the sources is looked for in the file before the file is loaded, because torch ends the process where
    # a kernel does not fit its schema.
    if found and sources.is_dir() and source_hash(sources).encode() not in Path(found.origin).read_bytes():
        return None, f"lape.kernels._C: csrc/ is not what the extension was compiled from; {_BUILD}"
    try:
        extension = importlib.import_module("lape.kernels._C")
        info = extension.build_info()
    except ModuleNotFoundError:
        return None, f"lape.kernels._C: the compiled extension is not built; {_BUILD}"
    except ImportError as error:
        return None, f"lape.kernels._C: the compiled extension does not load ({str(error).splitlines()[0]}); {_BUILD}"
    except RuntimeError as error:  # LAPE_SIMD names a level that this processor does not have
        return None, str(error)
    if info["torch"] != running:
        return (
            None,
            f"lape.kernels._C: the compiled extension was built for torch {info['torch']}, not {running}; {_BUILD}",
        )
    return extension, ""


_extension, _fault = _load()
_info = None if _extension is None else _extension.build_info()


def build_info() -> dict | None:
    """Compiler, C++ standard, torch, CUDA and SIMD level of the extension; None without a usable extension."""
    return _info


def active_backend(device: torch.device | str, backend: str = "extension", cuda: bool = True) -> str:
    """The implementation that runs on a device, as artifacts record it.

    Args:
        device: device of the tensors.
        backend: "extension" or "reference".
        cuda: whether the operator has a CUDA kernel. An operator without one runs as the reference on a GPU.

    Returns:
        "cpp", "cuda" or "reference".

    Raises:
        LapeError: the backend is unknown, or the extension has no kernel for the device.
    """
    if backend not in BACKENDS:
        raise LapeError(f"backend: {backend!r} is unknown; use one of {', '.join(BACKENDS)}")
    kind = torch.device(device).type
    if backend == "reference" or (kind == "cuda" and not cuda):
        return "reference"
    if _info is None:
        raise LapeError(_fault)
    if kind == "cuda" and not _info["cuda"]:
        raise LapeError(
            f"lape.kernels._C: the compiled extension was built without CUDA; with CUDA's nvcc installed {_BUILD}"
        )
    if kind not in ("cpu", "cuda"):
        raise LapeError(f"lape.kernels._C: the compiled extension has no kernel for {kind}; set backend: reference")
    return "cpp" if kind == "cpu" else "cuda"


def resolved(backend: str, *devices: torch.device | str, cuda: bool = True) -> str:
    """The backend that operators are called with, for tensors on some devices.

    Args:
        backend: "extension", "reference", or "auto": the extension where it has kernels for all the devices, else the
            reference, with one warning per process that says how to build the extension.
        *devices: where the tensors are.
        cuda: see `active_backend`.

    Returns:
        "extension" or "reference".

    Raises:
        LapeError: the backend is unknown, or it is "extension" and the extension has no kernel for a device.
    """
    if backend not in ("auto", *BACKENDS):
        raise LapeError(f"backend: {backend!r} is unknown; use one of auto, {', '.join(BACKENDS)}")
    try:
        for device in devices:
            active_backend(device, "extension" if backend == "auto" else backend, cuda)
    except LapeError as error:
        if backend != "auto":
            raise
        _warn_of_reference(str(error))
        return "reference"
    return "extension" if backend == "auto" else backend


@functools.cache
def _warn_of_reference(fault: str) -> None:
    logger.warning("%s. Until then plain torch takes its place: the same numbers, more slowly", fault)


class Sums(NamedTuple):
    """Sums over rows, for G groups of rows (languages) and I neurons; the operators add to them in place.

    Attributes:
        count: int64 [G, I], number of rows with x > 0, compared in x's own dtype (Tang et al. 2024, section 2.2).
        total: float64 [G, I], sum of x.
        square: float64 [G, I], sum of x squared.
        above: int64 [K, G, I], number of rows with x > thresholds[k].
        rows: int64 [G], number of rows of the group.
        thresholds: K numbers, at most 4. Each is rounded to float32.
    """

    count: Tensor
    total: Tensor
    square: Tensor
    above: Tensor
    rows: Tensor
    thresholds: tuple[float, ...] = ()

    @classmethod
    def zeros(
        cls, neurons: int, groups: int = 1, thresholds: Sequence[float] = (), device: torch.device | str = "cpu"
    ) -> "Sums":
        """Make sums over no rows."""
        shape, thresholds = (groups, neurons), tuple(thresholds)
        return cls(
            torch.zeros(shape, dtype=torch.int64, device=device),
            torch.zeros(shape, dtype=torch.float64, device=device),
            torch.zeros(shape, dtype=torch.float64, device=device),
            torch.zeros((len(thresholds), *shape), dtype=torch.int64, device=device),
            torch.zeros(groups, dtype=torch.int64, device=device),
            thresholds,
        )


class Edits(NamedTuple):
    """P perturbations as one list of M edits. Perturbation p is the edits offset[p] ... offset[p + 1] - 1.

    Attributes:
        index: int64 [M], the neuron of each edit; no neuron comes twice in a perturbation.
        mode: int64 [M], the place of the edit's mode in MODES.
        value: float32 [M], the value of each edit.
        offset: int64 [P + 1], where each perturbation begins, and the end.
        changed: int64 [P]. Operators add the number of activations whose value an edit changed.
    """

    index: Tensor
    mode: Tensor
    value: Tensor
    offset: Tensor
    changed: Tensor


def activation_stats(x: Tensor, sums: Sums, group: Tensor | None = None, backend: str = "extension") -> None:
    """Add the statistics of activations to `sums`, in one read of the activations.

    A NaN is never counted, and makes the neuron's total and square NaN. The result has the same bits on every run. On
    the CPU it has the same bits for every number of threads, and however the rows are split into calls. On a GPU, sums
    of bfloat16 and float16 values are off by at most 2^-21 of the sum of their absolute terms, since eight rows are
    added in float32, where squares below 1e-45 are zero.

    Args:
        x: activations [..., I], float32, bfloat16 or float16, with any strides.
        sums: the sums that are added to.
        group: int64, contiguous, of x's shape without its last dimension. It holds the group of each row, below G. A
            row of a negative group, such as BOS or padding, is left out. None puts all rows into group 0.
        backend: "extension" or "reference".

    Raises:
        LapeError: the extension cannot run on x's device.
        RuntimeError: a shape, dtype or device is wrong, or a group is not below G. On a GPU a row of such a group is
            left out instead, because raising would have to wait for the device.
    """
    if active_backend(x.device, backend) == "reference":
        reference.activation_stats(x, group, sums.thresholds, *sums[:5])
    else:
        torch.ops.lape.activation_stats(x, group, sums.thresholds, *sums[:5])


def glu_stats(
    gate: Tensor,
    up: Tensor | None,
    activation: str,
    sums: Sums,
    group: Tensor | None = None,
    backend: str = "extension",
    overwrite: bool = False,
) -> Tensor:
    """The GLU step act(gate) * up (Eq. 3), with the statistics of act(gate) added to `sums` in the same pass.

    The result has the bits of eager torch: first the activation is rounded to the dtype, then the product. One
    exception is eager torch's own. On the CPU it takes the last few elements of a thread's share, and columns that are
    not neighbours, one by one, and rounds some functions differently there.

    Args:
        gate: [..., I], float32, bfloat16 or float16, with any strides.
        up: a tensor like gate; None for an FFN without a gate, whose step is act(gate) alone.
        activation: one of ACTIVATIONS.
        sums, group, backend: see `activation_stats`.
        overwrite: the result may take the memory of the gate, which must then not be read again.

    Returns:
        a contiguous tensor of gate's shape and dtype.

    Raises:
        LapeError, RuntimeError: see `activation_stats`; or the activation is unknown.
    """
    if active_backend(gate.device, backend) == "reference":
        return reference.glu_stats(gate, up, activation, group, sums.thresholds, *sums[:5])
    if overwrite and gate.device.type == "cpu" and gate.is_contiguous():
        torch.ops.lape.glu_stats_(gate, up, activation, group, sums.thresholds, *sums[:5])
        return gate
    return torch.ops.lape.glu_stats(gate, up, activation, group, sums.thresholds, *sums[:5])


def ffn_edit(x: Tensor, edits: Edits, choice: Tensor | None = None, backend: str = "extension") -> None:
    """Edit activations in place. Only the edited neurons are read and written.

    Each edit is computed in float32 and rounded to x's dtype. The mode "max" leaves a NaN as it is.

    Args:
        x: activations [..., I], float32, bfloat16 or float16, with at most two strides between rows.
        edits: the perturbations. Their `changed` is added to.
        choice: int64, contiguous, of x's shape without its last dimension. It holds the perturbation of each row, below
            P. A row of a negative choice is left alone. None gives all rows perturbation 0.
        backend: "extension" or "reference".

    Raises:
        LapeError: the extension cannot run on x's device.
        RuntimeError: a shape, dtype or device is wrong, rows cannot be edited in place, or an index, mode or choice is
            out of range. On a GPU an edit that is out of range is left out instead.
    """
    if active_backend(x.device, backend) == "reference":
        reference.ffn_edit(x, *edits[:4], choice, edits.changed)
    else:
        torch.ops.lape.ffn_edit(x, *edits[:4], choice, edits.changed)


def token_nll(logits: Tensor, target: Tensor, backend: str = "extension") -> Tensor:
    """Negative log-likelihood of each row's target, in nats: logsumexp(logits[r]) - logits[r, target[r]].

    The extension reads the logits once and makes no float32 copy of them. Its error is below 1e-5 nats.

    Args:
        logits: [R, V], float32, bfloat16 or float16, with any strides.
        target: int64 [R], in [0, V).
        backend: "extension" or "reference".

    Returns:
        float64 [R]; NaN where the row holds a NaN.

    Raises:
        LapeError: the extension cannot run on the device.
        RuntimeError: a shape, dtype or device is wrong, or a target is out of range. On a GPU a row with such a target
            is NaN instead, because raising would have to wait for the device.
    """
    if active_backend(logits.device, backend) == "reference":
        return reference.token_nll(logits, target)
    return torch.ops.lape.token_nll(logits, target)


def average_precision(responses: Tensor, labels: Tensor, languages: int, backend: str = "extension") -> Tensor:
    """Average precision of every unit's response as a score for "is this language" (Kojima et al. 2024).

    It is scikit-learn's average precision: the sum over thresholds of precision times the rise in recall, where equal
    responses share one threshold. One sort of a unit's responses serves all languages, and the negated response too.
    The extension's result is the same for every number of threads.

    Args:
        responses: float32 [U, N], contiguous, the responses of U units to N sentences. They may be infinite.
        labels: int64 [N], the language of each sentence, in [0, K). Every language has a sentence.
        languages: K.
        backend: "extension" or "reference". On a GPU the reference runs in either case.

    Returns:
        float64 [2, U, K]: first of the response, then of the negated response.

    Raises:
        LapeError: the extension cannot run on the device.
        RuntimeError: a shape, dtype or device is wrong, a label is out of range, a language has no sentence, or a
            response is NaN.
    """
    if active_backend(responses.device, backend, cuda=False) == "reference":
        return reference.average_precision(responses, labels, languages)
    return torch.ops.lape.average_precision(responses, labels, languages)


@torch.library.register_fake("lape::activation_stats", lib=_library)
def _(x, group, thresholds, count, total, square, above, rows) -> None:
    reference.check_statistics(x, group, thresholds, count, total, square, above, rows)


@torch.library.register_fake("lape::glu_stats", lib=_library)
def _(gate, up, activation, group, thresholds, count, total, square, above, rows) -> Tensor:
    reference.check_glu(gate, up, activation)
    reference.check_statistics(gate, group, thresholds, count, total, square, above, rows)
    return gate.new_empty(gate.shape)


@torch.library.register_fake("lape::glu_stats_", lib=_library)
def _(gate, up, activation, group, thresholds, count, total, square, above, rows) -> None:
    reference.check_glu(gate, up, activation)
    reference.check_statistics(gate, group, thresholds, count, total, square, above, rows)


@torch.library.register_fake("lape::ffn_edit", lib=_library)
def _(x, index, mode, value, offset, choice, changed) -> None:
    reference.check_edit(x, index, mode, value, offset, choice, changed)


@torch.library.register_fake("lape::token_nll", lib=_library)
def _(logits: Tensor, target: Tensor) -> Tensor:
    reference.check_nll(logits, target)
    return logits.new_empty(logits.shape[0], dtype=torch.float64)


@torch.library.register_fake("lape::average_precision", lib=_library)
def _(responses: Tensor, labels: Tensor, languages: int) -> Tensor:
    reference.check_average_precision(responses, labels, languages)
    return responses.new_empty((2, responses.shape[0], languages), dtype=torch.float64)
