"""Which sources an extension was compiled from; imported by setup.py, so it needs nothing but the standard library."""

import hashlib
from pathlib import Path


def source_hash(folder: str | Path) -> str:
    """SHA-256 over the names and contents of the C++ and CUDA sources of a folder."""
    digest = hashlib.sha256()
    for file in sorted(Path(folder).iterdir()):
        if file.suffix in (".cpp", ".cu", ".h", ".cuh"):
            digest.update(f"{file.name}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()
