"""The files of a checkpoint folder.

The Snakefile imports this module while it starts, so it imports nothing but the standard library.
"""

from pathlib import Path

from lape.errors import LapeError

# Files that identify a checkpoint: its weights, its configuration and its tokenizer.
PATTERNS = ("*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt")


def checkpoint_files(folder: str | Path) -> list[Path]:
    """The files of a checkpoint folder that decide its behaviour, sorted.

    Raises:
        LapeError: the folder is missing, or holds no configuration or no safetensors weights.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise LapeError(f"{folder}: no such model folder; mend the model's `path` in the config")
    files = sorted(file for pattern in PATTERNS for file in folder.glob(pattern))
    for needed in ("config.json", "*.safetensors"):
        if not any(file.match(needed) for file in files):
            raise LapeError(f"{folder}: has no {needed}; save the model there with save_pretrained()")
    return files
