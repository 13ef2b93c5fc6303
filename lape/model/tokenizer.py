"""The tokenizer of a model artifact: text as text, prompts that a model goes on with, and the BOS token."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from tokenizers import Tokenizer

from lape.errors import LapeError


def load_tokenizer(path: str | Path, threads: int | None = None) -> Tokenizer:
    """Read the tokenizer.json of a model artifact.

    Text is text: where a document or a sentence contains "</s>" or "<|endoftext|>", its characters become tokens like
    any others. `prompt_ids` alone reads special tokens.

    Args:
        path: path of the file.
        threads: CPU threads that encode a batch of texts; None for as many as the library takes.

    Raises:
        LapeError: the file is missing, or holds no tokenizer.
    """
    if threads is not None:
        os.environ["RAYON_NUM_THREADS"] = str(threads)  # the library reads it when it encodes its first batch
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise LapeError(f"{path}: is not a tokenizer ({error}); run the model step again") from error
    tokenizer.encode_special_tokens = True
    return tokenizer


def backend_of(tokenizer: object) -> Tokenizer:
    """The tokenizer of the library tokenizers: itself, or what is behind a fast tokenizer of transformers.

    Raises:
        LapeError: it is neither.
    """
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not isinstance(backend, Tokenizer):
        raise LapeError(
            f"tokenizer: a {type(tokenizer).__name__} is no fast tokenizer; load one with transformers' AutoTokenizer, "
            "or pass token ids"
        )
    return backend


@contextlib.contextmanager
def as_text(tokenizer: object) -> Iterator[Tokenizer]:
    """Yield the tokenizer of `backend_of`, which takes text as text in the block: whole, without padding.

    Raises:
        LapeError: see `backend_of`.
    """
    backend = backend_of(tokenizer)
    special, truncation, padding = backend.encode_special_tokens, backend.truncation, backend.padding
    backend.encode_special_tokens = True
    backend.no_truncation()
    backend.no_padding()
    try:
        yield backend
    finally:
        backend.encode_special_tokens = special
        if truncation is not None:
            backend.enable_truncation(**truncation)
        if padding is not None:
            backend.enable_padding(**padding)


def prompt_ids(tokenizer: Tokenizer, prompt: str, begin: bool = True) -> list[int]:
    """Token ids of a prompt, in which special tokens are read as such.

    Args:
        tokenizer: a tokenizer.
        prompt: the text.
        begin: begin as the tokenizer begins a text, as with BOS. What it puts behind a text, as some put EOS, is left
            out, so that the model goes on with the prompt.
    """
    as_text = tokenizer.encode_special_tokens
    tokenizer.encode_special_tokens = False
    try:
        ids = tokenizer.encode(prompt, add_special_tokens=False).ids
        return _beginning(tokenizer) + ids if begin else ids
    finally:
        tokenizer.encode_special_tokens = as_text


def _beginning(tokenizer: Tokenizer) -> list[int]:
    """The token ids that a tokenizer puts before a text."""
    text = "a"
    inner = tokenizer.encode(text, add_special_tokens=False).ids
    whole = tokenizer.encode(text).ids
    for length in range(len(whole) - len(inner) + 1):
        if whole[length : length + len(inner)] == inner:
            return whole[:length]
    return []


def begins_with(tokenizer: Tokenizer) -> int | None:
    """The first token id that a tokenizer puts before a text, which is BOS, or EOS in XGLM; None where it puts none."""
    return next(iter(_beginning(tokenizer)), None)


def chosen_bos(description: Mapping, wanted: bool | None, label: str, key: str) -> int | None:
    """The id of the token that a text begins with; None for no such token.

    Args:
        description: header of the model artifact.
        wanted: whether it is BOS; None for what the model's tokenizer does.
        label: what messages call the text.
        key: the setting that decides.

    Raises:
        LapeError: BOS is wanted and the model has none.
    """
    bos = description["bos_token_id"]
    if wanted is None:
        return description.get("begins_with", bos)  # artifacts of earlier versions do not say
    if wanted and bos is None:
        raise LapeError(
            f"{label}: the tokenizer has no BOS token that the model has an embedding of; set {key}, or the model's "
            "`bos`, to false"
        )
    return bos if wanted else None
