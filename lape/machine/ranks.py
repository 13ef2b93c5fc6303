"""Tensor parallelism: the ranks that share one model, which columns are whose, and how they keep in step.

torchrun starts the same command on every rank. All ranks run the same passes and come to the same numbers, as what they
count of their own columns is joined; only the first writes, where `lape.artifacts.files.writing` sees to it.
"""

import ctypes
import os
import signal
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from lape.errors import LapeError

if TYPE_CHECKING:
    from torch import nn

# Ranks may take so much longer than others to load their part; one that dies is noticed at once, by torchrun.
_TIMEOUT = timedelta(hours=1)
# Seconds in which another rank may say first what went wrong.
_COURTESY = 5.0
# How transformers' plan names an output that lies on the ranks by column, and an input that does.
_WRITES_COLUMNS, _READS_COLUMNS = "colwise", "rowwise"

_PR_SET_PDEATHSIG = 1  # of Linux's prctl.h

_joined = 1


def rank() -> int:
    """Which of the processes that a launcher started together this is, from 0; 0 where there is no launcher."""
    return int(os.environ.get("RANK", 0))


def local_rank() -> int:
    """The same among the processes of this machine: the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", 0))


def number() -> int:
    """How many ranks share the model that is loaded; 1 without tensor parallelism."""
    return _joined


def writes() -> bool:
    """Whether this process writes and removes files: the first rank does, for all that share the model."""
    return number() == 1 or rank() == 0


def join(wanted: int, device: str) -> None:
    """Meet the other ranks, each with a GPU of its own if `device` is "cuda"; from here on all keep in step.

    Args:
        wanted: ranks that the model is to be spread over; 1: none are met.
        device: "cpu" or "cuda".

    Raises:
        LapeError: the process was started among another number of ranks, or there are too few GPUs.
    """
    global _joined
    started = int(os.environ.get("WORLD_SIZE", 1))
    if started != wanted:
        start = f"with `{' '.join(launcher(wanted))} lape ...`" if wanted > 1 else "without torchrun"
        raise LapeError(f"tensor_parallel: {wanted}, but {started} processes were started; start it {start}")
    if wanted == 1 or _joined == wanted:
        return
    if sys.platform == "linux":
        # Killed with torchrun, however that ends: a rank that lives on would hold a GPU that nothing claims any more.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    import torch
    from torch import distributed

    if device == "cpu" and torch.cuda.is_available():
        # transformers takes the accelerator that it finds.
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
    """What goes before `lape` in the command line of so many ranks; nothing for one."""
    # Behind `--` torchrun takes our --log for none of its own options.
    return ["torchrun", "--standalone", "--nproc_per_node", str(ranks), "-m", "--"] if ranks > 1 else []


def gathered(value):
    """A value from every rank, in their order. Every rank must call it, and waits for the others.

    Args:
        value: of this rank: anything that can be pickled, None to wait and no more.
    """
    if _joined == 1:
        return [value]
    from torch import distributed

    values = [None] * _joined
    distributed.all_gather_object(values, value)
    return values


def let_others_speak(sure: bool) -> None:
    """Wait before a fault is reported, so that one line tells it: when a rank ends, torchrun ends the others.

    A fault that all ranks see is the first rank's to tell. What looks like a fault of ours may be another rank's end,
    which broke a connection: that one shall tell why.

    Args:
        sure: the fault is this rank's own.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and (rank() or not sure):
        time.sleep(_COURTESY if sure else 2 * _COURTESY)


def of_input(decoder: "nn.Module", path: str, projection: "nn.Module") -> tuple[int, int]:
    """Over how many ranks the columns that a linear layer reads are spread, and which of them this is.

    Args:
        decoder: that it belongs to.
        path: of the linear layer within a decoder layer.
        projection: the linear layer.

    Returns:
        ranks and rank, each with an equal block of columns in their order; 1 and 0 where each rank has all of them.

    Raises:
        LapeError: the weight does not lie on the ranks as the plan of the model says.
    """
    return _spread(projection, path, 1) if _plan(decoder.config).get(path) == _READS_COLUMNS else (1, 0)


def of_output(decoder: "nn.Module", path: str, projection: "nn.Module") -> tuple[int, int]:
    """The same of the columns that a linear layer writes."""
    return _spread(projection, path, 0) if _plan(decoder.config).get(path) == _WRITES_COLUMNS else (1, 0)


def _spread(projection: "nn.Module", path: str, dimension: int) -> tuple[int, int]:
    """Ranks and rank by which a weight [outputs, inputs] is cut along a dimension."""
    weight = projection.weight
    mesh = getattr(weight, "device_mesh", None)
    if mesh is None:  # no DTensor: the model is not spread
        return 1, 0
    # Equal shards: rank r holds the r-th block. Of any other placement the order is another.
    (placement,) = weight.placements
    if not placement.is_shard(dimension) or weight.to_local().shape[dimension] * mesh.size() != weight.shape[dimension]:
        raise LapeError(f"{path}: lies on the ranks as {placement}, not in equal blocks; use `device_map: auto`")
    return mesh.size(), mesh.get_local_rank()


def check_plan(decoder: "nn.Module", down: str, width: int, experts: int, ranks: int) -> None:
    """Refuse a model that cannot be spread over so many ranks.

    Args:
        decoder: of the model, on any device.
        down: path of the FFN's last projection within a decoder layer.
        width: neurons of an FFN.
        experts: experts of a layer.
        ranks: how many share the model.

    Raises:
        LapeError: transformers has no plan for it, or its heads or neurons do not divide.
    """
    config, remedy = decoder.config, "spread it with `device_map: auto`"
    name = f"tensor_parallel: architecture {config.model_type!r}"
    if experts > 1:
        raise LapeError(f"{name} is a mixture of experts, and dense models alone are spread by column; {remedy}")
    # A projection that splits its input itself wants it whole: every rank computes all neurons (Phi-3).
    if _plan(config).get(down) not in (_READS_COLUMNS, "rowwise_split_input"):
        raise LapeError(f"{name} has no plan in transformers that spreads its FFN; {remedy}")
    heads = config.num_attention_heads
    sizes = {
        "attention heads": heads,
        "key-value heads": getattr(config, "num_key_value_heads", None) or heads,
        "neurons of a layer": width,
    }
    for what, size in sizes.items():
        if size % ranks:
            raise LapeError(f"{name}: its {size} {what} do not divide by {ranks} ranks; lower it, or {remedy}")


def _plan(config) -> dict[str, str]:
    """How each linear layer is spread, by its path within a decoder layer."""
    plan = getattr(config, "base_model_tp_plan", None) or {}
    return {name.partition(".*.")[2]: style for name, style in plan.items()}
