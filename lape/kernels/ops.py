"""The hot loops as operators: activation statistics, the GLU step, edits, a token's likelihood, average precision.

Each has three equal implementations: plain torch (`lape.kernels.reference`, the oracle), C++ for the CPU, and CUDA.
Average precision has no CUDA kernel: its reference runs on a GPU. The schema is defined here whether or not the
extension is built, so that an exported or compiled graph can name the operator anywhere. No operator has a gradient.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from lape.errors import LapeError
from lape.kernels import reference
from lape.kernels.source_hash import source_hash

BACKENDS = ("extension", "reference")
# The activation functions of `glu_stats`, as transformers' modules compute them.
ACTIVATIONS = ("silu", "gelu", "gelu_tanh", "relu", "relu2", "quick_gelu")
# What an edit does with an activation: set it to the value, to the larger of both, add, multiply.
MODES = ("set", "max", "add", "scale")
_BUILD = "build it with `pip install --no-build-isolation -e .`, or set backend: reference"

_SUMS = "Tensor(a!) count, Tensor(b!) total, Tensor(c!) square, Tensor(d!) above, Tensor(e!) rows"
_library = torch.library.Library("lape", "DEF")
for _schema in (
    f"activation_stats(Tensor x, Tensor? group, float[] thresholds, {_SUMS}) -> ()",
    f"glu_stats(Tensor gate, Tensor? up, str activation, Tensor? group, float[] thresholds, {_SUMS}) -> Tensor",
    # On the CPU alone, where memory that is in the cache is worth having.
    f"glu_stats_(Tensor(f!) gate, Tensor? up, str activation, Tensor? group, float[] thresholds, {_SUMS}) -> ()",
    # Not "mode": an argument of that name collides with one of torch's own where it traces.
    "ffn_edit(Tensor(a!) x, Tensor index, Tensor kind, Tensor value, Tensor offset, Tensor? choice, Tensor(b!) changed)"
    " -> ()",
    "token_nll(Tensor logits, Tensor target) -> Tensor",
    "average_precision(Tensor responses, Tensor labels, int languages) -> Tensor",
):
    _library.define(_schema, tags=(torch.Tag.pt2_compliant_tag,))


def _load() -> tuple[ModuleType | None, str]:
    """The compiled module, or None and what to do: absence is no fault until an operator is called."""
    running = torch.__version__.split("+")[0]
    sources = Path(__file__).parents[2] / "csrc"
    found = importlib.util.find_spec("lape.kernels._C")
    # Looked for before it is loaded: torch ends the process where a kernel does not fit its schema.
    if found and sources.is_dir() and source_hash(sources).encode() not in Path(found.origin).read_bytes():
        return None, f"lape.kernels._C: csrc/ is not what the extension was compiled from; {_BUILD}"
    try:
        extension = importlib.import_module("lape.kernels._C")
        info = extension.build_info()
    except ModuleNotFoundError:
        return None, f"lape.kernels._C: the compiled extension is not built; {_BUILD}"
    except ImportError as error:
        return None, f"lape.kernels._C: the compiled extension does not load ({str(error).splitlines()[0]}); {_BUILD}"
    except RuntimeError as error:  # LAPE_SIMD names what this processor does not have
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
    """Compiler, C++ standard, torch, CUDA and SIMD level of the extension; None where there is none to use."""
    return _info


def active_backend(device: torch.device | str, backend: str = "extension", cuda: bool = True) -> str:
    """The implementation that runs on a device, as artifacts record it.

    Args:
        device: where the tensors lie.
        backend: "extension" or "reference".
        cuda: whether the operator has a CUDA kernel; one that has none runs as the reference on a GPU.

    Returns:
        "cpp", "cuda" or "reference".

    Raises:
        LapeError: no such backend, or the extension has no kernel for the device.
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


class Sums(NamedTuple):
    """Sums over rows, for G groups of rows (languages) and I neurons; the operators add to them in place.

    Attributes:
        count: int64 [G, I], rows with x > 0, in x's own dtype (Tang et al. 2024, section 2.2).
        total: float64 [G, I], sum of x.
        square: float64 [G, I], sum of x squared.
        above: int64 [K, G, I], rows with x > thresholds[k].
        rows: int64 [G], rows of the group.
        thresholds: K numbers, at most 4; each is rounded to float32.
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
        """Sums over no row."""
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
    """P perturbations as one list of M edits: perturbation p is the edits offset[p] ... offset[p + 1] - 1.

    Attributes:
        index: int64 [M], the neuron, no neuron twice in a perturbation.
        mode: int64 [M], the place in MODES.
        value: float32 [M].
        offset: int64 [P + 1].
        changed: int64 [P]; the number of activations whose value an edit changed is added.
    """

    index: Tensor
    mode: Tensor
    value: Tensor
    offset: Tensor
    changed: Tensor


def activation_stats(x: Tensor, sums: Sums, group: Tensor | None = None, backend: str = "extension") -> None:
    """Add the statistics of activations to `sums`, in one read of them.

    A NaN is never counted, and makes the neuron's total and square NaN. The result is the same to the last bit
    on every run; on the CPU also for every number of threads and however the rows are split into calls.

    Args:
        x: activations [..., I], float32, bfloat16 or float16, any strides.
        sums: what is added to.
        group: int64, contiguous, of x's shape without its last dimension: the row's group, below G; a row of a
            negative group (BOS, padding) is left out. None: all rows are of group 0.
        backend: "extension" or "reference".

    Raises:
        LapeError: the extension cannot run on x's device.
        RuntimeError: a wrong shape, dtype or device, or on the CPU a group that is not below G. Elsewhere such
            a row is left out, since to raise would mean to wait for the device.
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

    The result has the bits of eager torch: the activation is rounded to the dtype, then the product. (The exception
    is eager's own: on the CPU some functions round differently where it takes elements one by one, which are the last
    few of a thread's share and columns that are not neighbours.)

    Args:
        gate: [..., I], float32, bfloat16 or float16, any strides.
        up: as gate; None for an FFN without a gate, whose step is act(gate) alone.
        activation: one of ACTIVATIONS.
        sums, group, backend: see `activation_stats`.
        overwrite: the result may take the gate's memory, which is then not to be read again.

    Returns:
        contiguous, of gate's shape and dtype.

    Raises:
        LapeError, RuntimeError: see `activation_stats`; also an unknown activation.
    """
    if active_backend(gate.device, backend) == "reference":
        return reference.glu_stats(gate, up, activation, group, sums.thresholds, *sums[:5])
    if overwrite and gate.device.type == "cpu" and gate.is_contiguous():
        torch.ops.lape.glu_stats_(gate, up, activation, group, sums.thresholds, *sums[:5])
        return gate
    return torch.ops.lape.glu_stats(gate, up, activation, group, sums.thresholds, *sums[:5])


def ffn_edit(x: Tensor, edits: Edits, choice: Tensor | None = None, backend: str = "extension") -> None:
    """Edit activations in place: only the edited neurons are read and written.

    Each is computed in float32 and rounded to x's dtype. "max" leaves a NaN.

    Args:
        x: activations [..., I], float32, bfloat16 or float16, its rows at two strides at most.
        edits: the perturbations; `changed` is added to.
        choice: int64, contiguous, of x's shape without its last dimension: the row's perturbation, below P; a row of
            a negative choice is left alone. None: all rows take perturbation 0.
        backend: "extension" or "reference".

    Raises:
        LapeError: the extension cannot run on x's device.
        RuntimeError: a wrong shape, dtype or device, rows that cannot be edited in place, or on the CPU an index,
            mode or choice out of range. Elsewhere such an edit is left out.
    """
    if active_backend(x.device, backend) == "reference":
        reference.ffn_edit(x, *edits[:4], choice, edits.changed)
    else:
        torch.ops.lape.ffn_edit(x, *edits[:4], choice, edits.changed)


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
        return reference.token_nll(logits, target)
    return torch.ops.lape.token_nll(logits, target)


def average_precision(responses: Tensor, labels: Tensor, languages: int, backend: str = "extension") -> Tensor:
    """Average precision of every unit's response as a score for "is this language" (Kojima et al. 2024).

    It is scikit-learn's: the sum over thresholds of precision times the rise in recall, equal responses sharing one
    threshold. One sort of a unit's responses serves all languages, and the negated response too. The extension's
    result is the same for every number of threads.

    Args:
        responses: float32 [U, N], contiguous: of U units to N sentences. Infinities are responses as any other.
        labels: int64 [N], each sentence's language, in [0, K); no language is without a sentence.
        languages: K.
        backend: "extension" or "reference"; on a GPU the reference runs in either case.

    Returns:
        float64 [2, U, K]: of the response, and of the negated response.

    Raises:
        LapeError: the extension cannot run on the device.
        RuntimeError: a wrong shape, dtype or device, a label out of range, a language without a sentence, or a NaN
            among the responses.
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
