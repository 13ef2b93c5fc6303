"""Checks of where artifacts come from: hashes, inputs, places, leftovers and the model's revision."""

from collections.abc import Iterator, Set
from pathlib import Path

from lape.artifacts.files import read_json, sha256
from lape.artifacts.manifest import header_of
from lape.config import model_of
from lape.errors import LapeError

# Suffixes of folders that hold the parts of one artifact, and nothing else.
_PARTS = (".shards", ".blocks")


def differing(files: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the files whose hash differs from the expected one, or that cannot be read."""
    for name, expected in files.items():
        try:
            if sha256(name) != expected:
                yield name, "differs from the hash in the manifest"
        except LapeError:
            yield name, "is missing or cannot be read"


def left_over(path: str, files: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the files in an artifact's folder of parts that are none of its parts."""
    for folder in {Path(name).parent for name in files}:
        if folder.suffix in _PARTS and folder.is_dir():
            for name in sorted(map(str, folder.iterdir())):
                if name not in files:
                    yield name, f"is left over: it is no part of {path}"


def check_files(manifest: dict) -> Iterator[tuple[str, str]]:
    """Check that files without a header have their hash, and that config.json is the manifest's configuration."""
    faults = list(differing(manifest["files"]))
    yield from faults
    for name in manifest["files"].keys() - dict(faults):
        if Path(name).name == "config.json" and read_json(name) != manifest["config"]:
            yield name, "is another configuration than the manifest's"


def check_provenance(path: str, entry: dict, header: dict, hashes: dict[str, str]) -> Iterator[str]:
    """Check that the manifest repeats the header, and that the inputs of the header have the hashes it names."""
    folder = Path(path).parent
    if entry["files"] != {str(folder / name): digest for name, digest in header["outputs"].items()}:
        yield "names other data files or hashes than the manifest"
    for key in ("rule", "command", "inputs", "parameters", "versions"):
        if entry[key] != header[key]:
            yield f"has another entry for {key} than the manifest"
    for name, digest in header["inputs"].items():
        # A file from outside the run, such as the user's texts or a model's weights, may be gone by now.
        stands = hashes.get(name) or (sha256(name) if Path(name).is_file() else digest)
        if stands != digest:
            yield f"was made from another {name}; run the workflow again"
        if name not in hashes and header_of(name) is not None:
            yield f"was made from {name}, which the manifest does not list"


def check_place(path: str, header: dict, run: str) -> Iterator[str]:
    """Check that the language, model, split, setting, item and task of an artifact's header are parts of its path."""
    if not Path(path).is_relative_to(run):
        return
    parts = Path(path).relative_to(run).with_suffix("").parts
    place = {name for part in parts for name in (part, model_of(part))}  # a variant's folder is that of its model
    keys = ["language", "model", "split", "setting", "item", "task"]
    switched = "steered" if header.get("steered") else "deactivated"
    keys += [switched] if header["artifact"] in ("perplexity", "accuracy") else []
    for key in keys:
        if key in header and header[key] not in place:
            yield f"is of the {key} {header[key]!r}, by its own header"


def check_descent(headers: dict[str, dict], broken: Set[str]) -> Iterator[tuple[str, str]]:
    """Check that an artifact and its inputs agree: on the language, and on the revision of the model.

    Args:
        headers: path -> header of every artifact without a fault.
        broken: paths of the headers of the others.
    """
    for path, header in headers.items():
        sources = {name: headers[name] for name in header["inputs"] if name in headers}
        languages = {source["language"] for source in sources.values() if "language" in source}
        # Without a broken input, what is left may be of other languages.
        own = header.get("language", next(iter(languages), None))
        if languages and own not in languages and broken.isdisjoint(header["inputs"]):
            yield path, f"is of the language {header['language']!r}, what it was made from is of others"
        name, revision = _checkpoint(header)
        for source in sources:
            of, other = _checkpoint(sources[source])
            if None not in (name, revision, other) and name == of and revision != other:
                yield path, f"is of another revision of the model {name} than {source}; run the workflow again"


def _checkpoint(header: dict) -> tuple[str | None, str | None]:
    """The model that an artifact is of, and its revision."""
    if header["artifact"] == "model":
        return header["name"], header["revision"]
    return header.get("model"), header.get("model_revision")
