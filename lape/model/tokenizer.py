"""The tokenizer of a model artifact."""

import os
from pathlib import Path

from tokenizers import Tokenizer

from lape.errors import LapeError


def load_tokenizer(path: str | Path, threads: int | None = None) -> Tokenizer:
    """Read the tokenizer.json of a model artifact.

    Args:
        path: path of the file.
        threads: CPU threads that encode a batch of texts; None for as many as the library takes.

    Raises:
        LapeError: the file is missing, or holds no tokenizer.
    """
    if threads is not None:
        os.environ["RAYON_NUM_THREADS"] = str(threads)  # the library reads it when it encodes its first batch
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise LapeError(f"{path}: is not a tokenizer ({error}); run the model step again") from error
