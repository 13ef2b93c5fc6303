"""Checkpoints in forms that load slowly or unsafely, converted once to safetensors."""

import contextlib
import functools
import pickle
from collections.abc import Iterator
from pathlib import Path

import torch

from lape.errors import LapeError, first_line
from lape.model.weights import check_report


def convert_gguf(gguf: str | Path, folder: str | Path, dtype: torch.dtype) -> None:
    """Convert a GGUF checkpoint to safetensors and a fast tokenizer. It is done once, as these load in seconds.

    Quantised weights are dequantised, then rounded to `dtype`.

    Raises:
        LapeError: the file is missing or not a GGUF checkpoint that transformers can read.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    gguf = Path(gguf)
    if not gguf.is_file():
        raise LapeError(f"{gguf}: no such file; run the download step")
    arguments = {"gguf_file": gguf.name}
    try:
        with _one_gguf_reader():
            model, report = AutoModelForCausalLM.from_pretrained(
                gguf.parent,
                **arguments,
                quantization_config=GgufConfig(dequantize=True),
                dtype=dtype,
                output_loading_info=True,
            )
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **arguments)
    except Exception as error:  # a damaged file fails in many ways
        raise LapeError(f"{gguf}: cannot be read as a GGUF checkpoint ({first_line(error)}); fetch it again") from error
    check_report(gguf, model, report)
    # The quantisation has been undone, so that the saved checkpoint is a plain one.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def convert_pickled(path: str | Path, folder: str | Path, dtype: torch.dtype) -> None:
    """Convert a checkpoint of pickles to safetensors, rounded to `dtype`. Nothing but tensors is unpickled.

    Raises:
        LapeError: the checkpoint cannot be read, or its pickles hold something else than tensors.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, weights_only=True, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, KeyError, RuntimeError, pickle.UnpicklingError) as error:
        raise LapeError(
            f"{path}: its pickles cannot be read as weights ({first_line(error)}); do not use them"
        ) from error
    check_report(path, model, report)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextlib.contextmanager
def _one_gguf_reader() -> Iterator[None]:
    """During the block, parse a GGUF file once.

    transformers would parse it for the configuration, the weights and the tokenizer, each 10 s with a vocabulary of
    262,144 tokens.
    """
    import gguf

    reader = gguf.GGUFReader
    gguf.GGUFReader = functools.cache(reader)
    try:
        yield
    finally:
        gguf.GGUFReader = reader
