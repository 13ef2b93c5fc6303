"""Tensor parallelism: the ranks that share one model, the columns that each rank has, and how ranks keep in step.

torchrun starts the same command on every rank. All ranks run the same passes. They join the counts of their own
columns, so that all ranks come to the same numbers. Only the first rank writes; `lape.artifacts.files.writing` sees to
that.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING

from lape.errors import LapeError

if TYPE_CHECKING:
    from torch import nn

# How long a rank waits for ranks that take longer to load their part. torchrun notices at once when a rank dies.
_TIMEOUT = timedelta(hours=1)
# Seconds in which another rank may report a fault first.
_COURTESY = 5.0
# transformers' plan marks a linear layer whose output the ranks share by column, and one whose input they share so.
_WRITES_COLUMNS, _READS_COLUMNS = "colwise", "rowwise"

_PR_SET_PDEATHSIG = 1  # constant of Linux's prctl.h

_joined = 1


def rank() -> int:
    """The number of this process among those that a launcher started together, from 0; 0 without a launcher."""
    return int(os.environ.get("RANK", 0))


def local_rank() -> int:
    """The number of this process among a launcher's processes on this machine, which is the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", 0))


def number() -> int:
    """The number of ranks that share the loaded model; 1 without tensor parallelism."""
    return _joined


def writes() -> bool:
    """Whether this process writes and removes files. The first rank does so for all ranks that share the model."""
    return number() == 1 or rank() == 0


def join(wanted: int, device: str) -> None:
    """Meet the other ranks. From here on all ranks keep in step.

    Args:
        wanted: number of ranks that the model is to be spread over. With 1 there are no others to meet.
        device: "cpu" or "cuda". With "cuda" each rank takes a GPU of its own.

    Raises:
        LapeError: the launcher started another number of ranks, or there are too few GPUs.
    """
    global _joined
    started = int(os.environ.get("WORLD_SIZE", 1))
    if started != wanted:
        start = f"with `{' '.join(launcher(wanted))} lape ...`" if wanted > 1 else "without torchrun"
        raise LapeError(f"tensor_parallel: {wanted}, but {started} processes were started; start it {start}")
    if wanted == 1 or _joined == wanted:
        return
    if sys.platform == "linux":
        # The kernel kills this rank when torchrun ends, however it ends. A rank that lived on would hold a GPU whose
        # claim is gone.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    import torch
    from torch import distributed

    if device == "cpu" and torch.cuda.is_available():
        # transformers would take any accelerator that it finds.
        raise LapeError("tensor_parallel: on the CPU no GPU may be seen; set CUDA_VISIBLE_DEVICES to nothing")
    if device == "cuda":
        gpus = torch.cuda.device_count()
        if local_rank() >= gpus:
            raise LapeError(f"tensor_parallel: {wanted} ranks want a GPU each, torch sees {gpus}; lower it to {gpus}")
        torch.cuda.set_device(local_rank())
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    if not distributed.is_initialized():
        distributed.init_process_group(backend, timeout=_TIMEOUT)
    _joined = wanted


def launcher(ranks: int) -> list[str]:
    """The words before `lape` in the command line of a number of ranks; none for one rank."""
    # `--` keeps torchrun from taking our --log for an option of its own.
    return ["torchrun", "--standalone", "--nproc_per_node", str(ranks), "-m", "--"] if ranks > 1 else []


def gathered(value):
    """The values of all ranks, in their order. Every rank must call this function, and waits for the others.

    Args:
        value: this rank's value, which can be anything that pickle takes; None only to wait.
    """
    if _joined == 1:
        return [value]
    from torch import distributed

    values = [None] * _joined
    distributed.all_gather_object(values, value)
    return values


def let_others_speak(sure: bool) -> None:
    """Wait before a fault is reported, so that one rank reports it in one line.

    When a rank ends, torchrun ends the others. A fault that all ranks see is therefore left to the first rank. An
    unexpected error may come from a connection that broke when another rank ended; it is left to that rank.

    Args:
        sure: whether the fault is certainly one of this rank.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and (rank() or not sure):
        time.sleep(_COURTESY if sure else 2 * _COURTESY)


def of_input(decoder: "nn.Module", path: str, projection: "nn.Module") -> tuple[int, int]:
    """How the columns that a linear layer reads are spread over ranks.

    Args:
        decoder: the decoder that the linear layer belongs to.
        path: path of the linear layer within a decoder layer.
        projection: the linear layer.

    Returns:
        the number of ranks, and the number of this rank. Each rank has an equal block of columns, in the order of the
        ranks. (1, 0) where each rank has all columns.

    Raises:
        LapeError: the weight is not spread in equal blocks, as the plan of the model says.
    """
    return _spread(projection, path, 1) if _plan(decoder.config).get(path) == _READS_COLUMNS else (1, 0)


def of_output(decoder: "nn.Module", path: str, projection: "nn.Module") -> tuple[int, int]:
    """How the columns that a linear layer writes are spread over ranks; see `of_input`."""
    return _spread(projection, path, 0) if _plan(decoder.config).get(path) == _WRITES_COLUMNS else (1, 0)


def _spread(projection: "nn.Module", path: str, dimension: int) -> tuple[int, int]:
    """How many ranks a weight [outputs, inputs] is cut over along a dimension, and the number of this rank."""
    weight = projection.weight
    mesh = getattr(weight, "device_mesh", None)
    if mesh is None:  # the weight is no DTensor, as the model is not spread
        return 1, 0
    # With equal shards rank r holds block r. Other placements have another order of columns.
    (placement,) = weight.placements
    if not placement.is_shard(dimension) or weight.to_local().shape[dimension] * mesh.size() != weight.shape[dimension]:
        raise LapeError(f"{path}: lies on the ranks as {placement}, not in equal blocks; use `device_map: auto`")
    return mesh.size(), mesh.get_local_rank()


def check_plan(decoder: "nn.Module", widths: Collection[tuple[str, int]], ranks: int) -> None:
    """Check that a model can be spread over a number of ranks.

    Args:
        decoder: decoder of the model, on any device.
        widths: of every FFN, the path of its last projection within a decoder layer and its number of neurons. The path
            is "" in a mixture of experts.
        ranks: number of ranks that are to share the model.

    Raises:
        LapeError: transformers has no plan for the model, or its heads or neurons do not divide by the number of ranks.
    """
    config, remedy = decoder.config, "spread it with `device_map: auto`"
    name = f"tensor_parallel: architecture {config.model_type!r}"
    if any(not down for down, _ in widths):
        raise LapeError(f"{name} is a mixture of experts, and dense models alone are spread by column; {remedy}")
    # A projection that splits its own input (in Phi-3) wants it whole, so that every rank computes all neurons.
    plan = _plan(config)
    if any(plan.get(down) not in (_READS_COLUMNS, "rowwise_split_input") for down, _ in widths):
        raise LapeError(f"{name} has no plan in transformers that spreads its FFN; {remedy}")
    heads = config.num_attention_heads
    sizes = {
        "attention heads": heads,
        "key-value heads": getattr(config, "num_key_value_heads", None) or heads,
    }
    for what, size in (*sizes.items(), *(("neurons of a layer", width) for _, width in widths)):
        if size % ranks:
            raise LapeError(f"{name}: its {size} {what} do not divide by {ranks} ranks; lower it, or {remedy}")


def _plan(config) -> dict[str, str]:
    """Path of a linear layer within a decoder layer -> how transformers' plan spreads it."""
    plan = getattr(config, "base_model_tp_plan", None) or {}
    return {name.partition(".*.")[2]: style for name, style in plan.items()}
