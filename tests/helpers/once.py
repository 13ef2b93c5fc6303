"""What is dear to make and only read: made by the first worker that wants it, for all workers of a test run."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that all workers share.

    Args:
        factory: of the worker's temporary folders.
        name: of the folder.
        make: makes its content below a path where nothing is yet. The other workers wait for it.
    """
    own = factory.getbasetemp()
    # A worker's folder lies in the folder of its test run.
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    shared.mkdir(exist_ok=True)
    folder, done = shared / name, shared / f"{name}.done"
    with open(shared / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # what a worker left that failed
            make(folder)
            done.touch()
    return folder
