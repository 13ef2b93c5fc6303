"""Small disks, and full ones."""

import os
import subprocess
from pathlib import Path

import pytest


def mounted(folder: Path, *options: str) -> None:
    """Mount a tmpfs of 1 MB, or mount it anew with other options; without the right to do so, skip the test."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root may mount a tmpfs")
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(["size=1m", *options]), "tmpfs", folder])
    if done.returncode:
        pytest.skip("a tmpfs cannot be mounted here")


def fill(folder: Path, left: int) -> None:
    """Fill the disk that holds a folder but for some bytes."""
    space = os.statvfs(folder)
    (folder / "other.bin").write_bytes(bytes(space.f_bavail * space.f_frsize - left))
