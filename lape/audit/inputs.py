"""What an artifact was made from, by kind."""

from pathlib import Path

from lape.artifact import read_json


def inputs(header: dict, artifact: str | tuple[str, ...]) -> list[Path]:
    """Headers of one kind of artifact, or of several, among the inputs, in their order."""
    kinds = (artifact,) if isinstance(artifact, str) else artifact
    # A tokenizer is no artifact, and large.
    headers = [
        Path(name) for name in header["inputs"] if name.endswith(".json") and Path(name).name != "tokenizer.json"
    ]
    return [path for path in headers if read_json(path).get("artifact") in kinds]
