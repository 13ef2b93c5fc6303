"""The hash of the sources that an extension is compiled from.

setup.py imports this module, so that it imports nothing but the standard library.
"""

import hashlib
from pathlib import Path


def source_hash(folder: str | Path) -> str:
    """SHA-256 of the names and contents of the C++ and CUDA sources in a folder."""
    digest = hashlib.sha256()
    for file in sorted(Path(folder).iterdir()):
        if file.suffix in (".cpp", ".cu", ".h", ".cuh"):
            digest.update(f"{file.name}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()
