"""How much memory a computation takes, how much is free, and smaller batches where it is not enough."""

import contextlib
import gc
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import psutil

from lape.errors import LapeError
from lape.machine import ranks

if TYPE_CHECKING:
    import torch
    from tqdm import tqdm

_Result = TypeVar("_Result")
logger = logging.getLogger(__name__)


class Halving:
    """Do some work in batches, and halve the size of a batch each time that memory runs out.

    Args:
        size: size of a batch at first.
        label: what messages call the work.
        bar: progress bar of the work. It goes back where work is begun again.

    Attributes:
        size: size of a batch in the last work that was finished.
    """

    def __init__(self, size: int, label: str, bar: "tqdm"):
        self.size, self._label, self._bar = size, label, bar

    def __call__(self, work: Callable[[int], _Result], part: str | None = None) -> _Result:
        """Return work(size) for the first size that fits. Work that failed half-way begins again.

        Args:
            work: function of the size of its batches.
            part: what messages call this piece of the work; None where it is the whole work.

        Raises:
            LapeError: not even a batch of one fits, or ranks share the model, which cannot begin again in step. An
                error of the work itself comes with the label and the part before it.
        """
        import torch

        name = self._label if part is None else f"{self._label}, {part}"
        while True:
            before = self._bar.n
            try:
                return work(self.size)
            except LapeError as error:
                raise LapeError(f"{name}: {error}") from error
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error):
                    raise
                if self.size == 1 or ranks.number() > 1:
                    raise LapeError(
                        f"{name}: a batch of {self.size} takes more memory than there is; lower the stage's "
                        "batch_size or spread the model (`device_map`, `tensor_parallel`)"
                    ) from error
            # This comes after the handler: inside it, the error would keep the failed pass's memory alive.
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            logger.warning("%s: out of memory with a batch of %d; goes on with half of it", self._label, self.size)
            self.size //= 2
            self._bar.update(before - self._bar.n)


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out.

    torch raises a class of its own where its GPU allocator fails. Elsewhere only the text of the error tells.
    """
    import torch

    texts = ("can't allocate memory", "not enough memory", "std::bad_alloc", "error: out of memory", "_ALLOC_FAILED")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(text in str(error) for text in texts)


def free_memory(device: "torch.device") -> int:
    """Bytes that this process can still take on a device."""
    import torch

    if device.type != "cuda":
        return psutil.virtual_memory().available
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def peak_memory(function: Callable[[], object], device: "torch.device") -> int:
    """Bytes that a call takes at its peak, beyond those held before the call.

    On the CPU it is the growth of the process's resident memory. Only Linux tells that; on other systems it is 0.
    """
    import torch

    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    if not sys.platform.startswith("linux"):
        function()
        return 0
    with contextlib.suppress(OSError):  # where a sandbox forbids it, the process's earlier peak counts too
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = psutil.Process().memory_info().rss
    function()
    return max(0, resident_peak() - before)


def resident_peak() -> int:
    """Highest resident memory of this process in bytes, from Linux's /proc."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
