"""What an artifact was made from, by kind."""

from functools import cache
from pathlib import Path

from tokenizers import Tokenizer

from lape.artifacts.files import read_json, sha256
from lape.model.tokenizer import load_tokenizer


def inputs(header: dict, artifact: str | tuple[str, ...]) -> list[Path]:
    """Headers of one kind of artifact, or of several, among the inputs, in their order."""
    kinds = (artifact,) if isinstance(artifact, str) else artifact
    # A tokenizer is no artifact, and large.
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
    """A large vocabulary takes seconds to read."""
    return load_tokenizer(path)
