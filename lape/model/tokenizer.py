"""The tokenizer of a model artifact."""

from pathlib import Path

from tokenizers import Tokenizer

from lape.errors import LapeError


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Read the tokenizer.json of a model artifact.

    Raises:
        LapeError: the file is missing, or holds no tokenizer.
    """
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise LapeError(f"{path}: is not a tokenizer ({error}); run the model step again") from error
