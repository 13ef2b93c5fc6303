"""How much memory a computation takes, and how much there is."""

import contextlib
import gc
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import torch


def free_memory(device: torch.device) -> int:
    """Bytes that this process can still take on a device."""
    if device.type != "cuda":
        return psutil.virtual_memory().available
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def peak_memory(function: Callable[[], object], device: torch.device) -> int:
    """Bytes that a call takes at its peak beyond what is held before it.

    On the CPU it is the growth of the process's resident memory, which only Linux tells; elsewhere 0.
    """
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
    with contextlib.suppress(OSError):  # a sandbox may forbid it: then the process's peak so far counts
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = psutil.Process().memory_info().rss
    function()
    return max(0, resident_peak() - before)


def resident_peak() -> int:
    """Highest resident memory of this process in bytes, as Linux tells it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
