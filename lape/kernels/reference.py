"""The operators of `lape.kernels.ops` in plain torch, on any device: the oracle of the compiled kernels.

The functions take the arguments of the operators' schemas. Like the compiled kernels they raise RuntimeError where an
argument is wrong.
"""

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_MAX_THRESHOLDS = 4
# Number of responses that are ranked at a time. Each takes about 60 bytes.
_RANKED = 2**22
FUNCTIONS = {
    "silu": functional.silu,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": functional.relu,
    "relu2": lambda x: torch.square(functional.relu(x)),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
}


@torch.no_grad()
def activation_stats(x, group, thresholds, count, total, square, above, rows) -> None:
    """See `lape.kernels.ops.activation_stats`."""
    check_statistics(x, group, thresholds, count, total, square, above, rows)
    values = x.flatten(0, -2) if x.dim() > 1 else x[None]  # [R, I]
    groups = len(count)
    if group is not None and group.device.type == "cpu" and (group >= groups).any():
        raise RuntimeError(f"group {group.max().item()} is not below {groups}")
    member = torch.zeros(len(values), device=x.device) if group is None else group.reshape(-1)
    for g in range(groups):
        own = values[member == g]
        wide = own.double()
        count[g] += (own > 0).sum(0)
        total[g] += wide.sum(0)
        square[g] += wide.square().sum(0)
        rows[g] += len(own)
        for k, threshold in enumerate(thresholds):
            above[k, g] += (own.float() > torch.tensor(threshold, dtype=torch.float32, device=x.device)).sum(0)


@torch.no_grad()
def glu_stats(gate, up, activation, group, thresholds, count, total, square, above, rows) -> Tensor:
    """See `lape.kernels.ops.glu_stats`."""
    check_glu(gate, up, activation)
    active = FUNCTIONS[activation](gate)
    activation_stats(active, group, thresholds, count, total, square, above, rows)
    return (active if up is None else active * up).contiguous()


@torch.no_grad()
def ffn_edit(x, index, mode, value, offset, choice, changed) -> None:
    """See `lape.kernels.ops.ffn_edit`. Rows may have any strides."""
    check_edit(x, index, mode, value, offset, choice, changed)
    if x.device.type == "cpu":
        rising = all(0 <= first <= last <= len(index) for first, last in pairwise(offset.tolist()))
        _require(rising, f"offset must rise from 0 to at most {len(index)}")
        _require(not len(index) or bool(((index >= 0) & (index < x.shape[-1])).all()), "index is out of range")
        _require(bool(((mode >= 0) & (mode <= 3)).all()), "mode is unknown")
        _require(choice is None or bool((choice < len(changed)).all()), "choice is not below the perturbations")
    after = edited(x, index, mode, value, offset, choice)
    different = ((after != x) & ~(after.isnan() & x.isnan())).reshape(-1, x.shape[-1]).sum(1)  # [R]
    if choice is None:
        changed[:1] += different.sum()
    else:
        for p in range(len(changed)):
            changed[p] += different[choice.reshape(-1) == p].sum()
    x.copy_(after)


def edited(x, index, mode, value, offset, choice) -> Tensor:
    """Apply the edits of `ffn_edit` to a copy of x, through which gradients flow."""
    result = x
    bounds = offset.tolist()
    for p, (first, last) in enumerate(pairwise(bounds)):
        neurons, kinds, values = index[first:last], mode[first:last], value[first:last]
        if choice is None and p > 0:
            break
        old = x[..., neurons].float()
        ways = [values.expand_as(old), torch.where(values > old, values, old), old + values, old * values]
        new = torch.stack(ways).gather(0, kinds.expand_as(old)[None])[0].to(x.dtype)
        if choice is not None:
            new = torch.where((choice == p)[..., None], new, result[..., neurons])
        result = result.index_copy(-1, neurons, new)
    return result


@torch.no_grad()
def token_nll(logits: Tensor, target: Tensor) -> Tensor:
    """See `lape.kernels.ops.token_nll`. It is computed in float64."""
    check_nll(logits, target)
    vocabulary = logits.shape[1]
    inside = (target >= 0) & (target < vocabulary)
    if logits.device.type == "cpu" and not inside.all():
        raise RuntimeError(f"target {target[~inside][0].item()} is outside the vocabulary of {vocabulary}")
    values = logits.double()
    chosen = values.gather(1, target.where(inside, 0)[:, None])[:, 0]
    return (values.logsumexp(1) - chosen).where(inside, torch.nan)


@torch.no_grad()
def average_precision(responses: Tensor, labels: Tensor, languages: int) -> Tensor:
    """See `lape.kernels.ops.average_precision`."""
    check_average_precision(responses, labels, languages)
    outside = (labels < 0) | (labels >= languages)
    if outside.any():
        place = outside.nonzero()[0].item()
        raise RuntimeError(f"label {labels[place].item()} of sentence {place} is not below {languages}")
    positives = labels.bincount(minlength=languages)
    if not positives.all():
        raise RuntimeError(f"language {(positives == 0).nonzero()[0].item()} has no sentence")
    unreadable = responses.isnan().any(1)
    if unreadable.any():
        raise RuntimeError(f"the responses of unit {unreadable.nonzero()[0].item()} hold a NaN")
    result = responses.new_empty((2, len(responses), languages), dtype=torch.float64)
    size = max(1, _RANKED // len(labels))
    for first in range(0, len(responses), size):
        rows = responses[first : first + size]
        for direction, scores in enumerate((rows, -rows)):
            result[direction, first : first + size] = _ranked(scores, labels, positives)
    return result


def _ranked(scores: Tensor, labels: Tensor, positives: Tensor) -> Tensor:
    """Average precision of scores [U, N] for every language, float64 [U, K]."""
    ranking = scores.sort(dim=1, descending=True)
    member = labels[ranking.indices]  # [U, N]
    rank = torch.arange(len(labels), device=scores.device)
    # Equal scores share one threshold, which lies behind the last of them.
    final = torch.ones_like(member, dtype=torch.bool)
    final[:, :-1] = ranking.values[:, 1:] != ranking.values[:, :-1]
    threshold = rank.where(final, len(labels)).flip(1).cummin(1).values.flip(1)
    found = []
    for k, number in enumerate(positives.tolist()):
        own = member == k
        precision = own.cumsum(1).gather(1, threshold).double() / (threshold + 1)
        found.append((precision * own).sum(1) / number)
    return torch.stack(found, dim=1)


def check_statistics(x, group, thresholds, count, total, square, above, rows) -> None:
    """Raise RuntimeError unless shapes, dtypes and devices are those of the schema."""
    _check_dtype(x, "x")
    _require(x.dim() >= 1, "x must have at least one dimension, the neurons")
    _require(len(thresholds) <= _MAX_THRESHOLDS, f"there can be {_MAX_THRESHOLDS} thresholds, not {len(thresholds)}")
    _check_row_values(group, "group", x)
    _require(count.dim() == 2, f"count must have shape [groups, neurons], not {[*count.shape]}")
    groups, neurons = count.shape[0], x.shape[-1]
    _check_beside(count, "count", torch.int64, (groups, neurons), x)
    _check_beside(total, "total", torch.float64, (groups, neurons), x)
    _check_beside(square, "square", torch.float64, (groups, neurons), x)
    _check_beside(above, "above", torch.int64, (len(thresholds), groups, neurons), x)
    _check_beside(rows, "rows", torch.int64, (groups,), x)
    _require(groups > 0, "count must have at least one group")


def check_glu(gate: Tensor, up: Tensor | None, activation: str) -> None:
    """Raise RuntimeError unless shapes, dtypes and devices are those of the schema."""
    _check_dtype(gate, "gate")
    _require(gate.dim() >= 1, "gate must have at least one dimension, the neurons")
    names = ", ".join(FUNCTIONS)
    _require(activation in FUNCTIONS, f"activation '{activation}' is unknown; there are {names}")
    if up is not None:
        _require(up.dtype == gate.dtype, f"up must be {gate.dtype} as gate, not {up.dtype}")
        _require(up.shape == gate.shape, f"up must have shape {[*gate.shape]} as gate, not {[*up.shape]}")
        _require(up.device == gate.device, f"up must be on {gate.device}, not {up.device}")


def check_edit(x, index, mode, value, offset, choice, changed) -> None:
    """Raise RuntimeError unless shapes, dtypes and devices are those of the schema."""
    _check_dtype(x, "x")
    _require(x.dim() >= 1, "x must have at least one dimension, the neurons")
    shapes = f"{[*index.shape]} and {[*offset.shape]}"
    _require(
        index.dim() == 1 and offset.dim() == 1 and len(offset) >= 1,
        f"index must have shape [edits] and offset [perturbations + 1], not {shapes}",
    )
    edits, perturbations = index.shape[0], offset.shape[0] - 1
    _check_beside(index, "index", torch.int64, (edits,), x)
    _check_beside(mode, "mode", torch.int64, (edits,), x)
    _check_beside(value, "value", torch.float32, (edits,), x)
    _check_beside(offset, "offset", torch.int64, (perturbations + 1,), x)
    _check_beside(changed, "changed", torch.int64, (perturbations,), x)
    _check_row_values(choice, "choice", x)


def check_nll(logits: Tensor, target: Tensor) -> None:
    """Raise RuntimeError unless shapes, dtypes and devices are those of the schema."""
    _check_dtype(logits, "logits")
    _require(logits.dim() == 2, f"logits must have shape [rows, vocabulary], not {[*logits.shape]}")
    _require(target.dtype == torch.int64, f"target must be int64, not {target.dtype}")
    rows = logits.shape[:1]
    _require(target.shape == rows, f"target must have shape {[*rows]}, not {[*target.shape]}")
    devices = f"{logits.device}, {target.device}"
    _require(target.device == logits.device, f"logits and target must be on one device, not {devices}")


def check_average_precision(responses: Tensor, labels: Tensor, languages: int) -> None:
    """Raise RuntimeError unless shapes, dtypes and devices are those of the schema."""
    _require(responses.dtype == torch.float32, f"responses must be float32, not {responses.dtype}")
    shape = [*responses.shape]
    _require(responses.dim() == 2, f"responses must have shape [units, sentences], not {shape}")
    _require(responses.is_contiguous(), "responses must be contiguous")
    _require(languages > 0, "there must be at least one language")
    _check_beside(labels, "labels", torch.int64, tuple(shape[1:]), responses)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise RuntimeError(message)


def _check_dtype(tensor: Tensor, name: str) -> None:
    _require(tensor.dtype in _DTYPES, f"{name} must be float32, bfloat16 or float16, not {tensor.dtype}")


def _check_beside(tensor: Tensor, name: str, dtype: torch.dtype, shape: tuple, x: Tensor) -> None:
    _require(tensor.dtype == dtype, f"{name} must be {dtype}, not {tensor.dtype}")
    _require(tensor.shape == shape, f"{name} must have shape {[*shape]}, not {[*tensor.shape]}")
    _require(tensor.device == x.device, f"{name} must be on {x.device}, not {tensor.device}")
    _require(tensor.is_contiguous(), f"{name} must be contiguous")


def _check_row_values(values: Tensor | None, name: str, x: Tensor) -> None:
    if values is not None:
        _check_beside(values, name, torch.int64, tuple(x.shape[:-1]), x)
