"""The inputs that an artifact was made from, by kind of artifact."""

from functools import cache
from pathlib import Path

from tokenizers import Tokenizer

from lape.artifacts.files import read_json, sha256
from lape.model.tokenizer import load_tokenizer


def inputs(header: dict, artifact: str | tuple[str, ...]) -> list[Path]:
    """The headers among an artifact's inputs that are of one kind of artifact, or of several, in their order."""
    kinds = (artifact,) if isinstance(artifact, str) else artifact
    # A tokenizer is skipped: its JSON is no header, and is large.
    headers = [
        Path(name) for name in header["inputs"] if name.endswith(".json") and Path(name).name != "tokenizer.json"
    ]
    return [path for path in headers if read_json(path).get("artifact") in kinds]


def tokenizer_of(header: dict) -> Tokenizer:
    """The tokenizer of the model among the inputs."""
    (model,) = inputs(header, "model")
    path = model.with_name("tokenizer.json")
    return _tokenizer(path, sha256(path))


@cache
def _tokenizer(path: Path, digest: str) -> Tokenizer:
    """Read a tokenizer once: a large vocabulary takes seconds."""
    return load_tokenizer(path)
