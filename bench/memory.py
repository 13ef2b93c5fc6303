"""Measure peak memory in a fresh process, so that memory left by an earlier measurement does not count."""

import json
import resource
import subprocess
import sys
from pathlib import Path

from lape.errors import LapeError
from lape.machine.memory import resident_peak


def in_fresh_process(module: str, *arguments: str) -> dict:
    """Run a module of the benchmark in a process of its own, and return the JSON object that it prints last.

    Raises:
        LapeError: the process failed.
    """
    command = [sys.executable, "-m", module, *arguments]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise LapeError(f"{module}: failed ({reason}); run `python {' '.join(command[1:])}`")
    return json.loads(done.stdout.splitlines()[-1])


def peak_bytes() -> int:
    """The most memory that this process has held."""
    # On Linux, ru_maxrss of a child begins at the memory that its parent held.
    if sys.platform.startswith("linux"):
        return resident_peak()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 2**10)
