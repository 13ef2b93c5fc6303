"""The manifest of a run: every artifact, the hash of each of its files, and the command that made it."""

import contextlib
import datetime
import functools
import hashlib
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path

from lape.artifacts.files import json_text, read_json, sha256, versions
from lape.errors import LapeError
from lape.machine.usage import read_usage, usage_file


def build_manifest(
    headers: Iterable[str | Path], run: str | Path, config: str | Path, report: str | Path | None = None
) -> dict:
    """Collect the headers of a run: the given ones, and those of all artifacts that they were made from.

    Args:
        headers: paths of the JSON headers of the last artifacts (tables, figures), relative to the working directory.
        run: folder of the run. Where it has logs/, an entry says how long its job took.
        config: configuration of the run, as JSON.
        report: path of the run's page of tables and figures, if it has one.

    Returns:
        {"artifact": "manifest", "config", "files": {path: hash} of files without a header, "versions", "machine",
        "artifacts": {path of a header: entry}, "sha256": the manifest's own seal, see `sealed`}. An entry holds the
        hash of the header, the hashes and sizes of its data files, the rule and the command that made it, the hashes of
        its inputs, its parameters, versions, device and backend where it has them, and the time when it was written.

    Raises:
        LapeError: a header or a data file is missing.
    """
    # Many artifacts have one input, such as a tokenizer of megabytes; it is looked at once.
    header = functools.cache(header_of)
    found: dict[str, dict] = {}
    waiting = [Path(path) for path in headers]
    while waiting:
        path = waiting.pop()
        if str(path) not in found:
            found[str(path)] = _entry(path, Path(run))
            waiting += filter(None, map(header, found[str(path)]["inputs"]))
    return sealed(
        {
            "artifact": "manifest",
            "config": read_json(config),
            "files": {str(path): sha256(path) for path in (config, report) if path is not None},
            "versions": versions(),
            "machine": machine(),
            "artifacts": dict(sorted(found.items())),
        }
    )


def machine() -> dict:
    """The kind of processor and of GPUs, which decide on the last bits of numbers, as versions and settings do."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    gpus: list[str] = []
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        gpus = subprocess.run(query, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    return {"processor": processor, "gpus": gpus}


def sealed(manifest: dict) -> dict:
    """Add to a manifest the hash of its content, so that a change by accident or by hand shows."""
    content = {key: value for key, value in manifest.items() if key != "sha256"}
    return {**content, "sha256": hashlib.sha256(json_text(content).encode()).hexdigest()}


def is_as_written(path: str | Path, manifest: dict) -> bool:
    """Whether a file has the bytes of the manifest as it was written, seal included; `manifest` is its content."""
    try:
        return Path(path).read_bytes() == json_text(sealed(manifest)).encode()
    except ValueError:  # a NaN, which is never written
        return False


def header_of(name: str) -> Path | None:
    """The header of an input: the input itself, or the JSON file beside it that names it; None without a header."""
    path = Path(name)
    beside = (path, path.with_suffix(".json"), Path(f"{path}.json"), path.with_suffix("").with_suffix(".json"))
    for header in dict.fromkeys(beside):
        if header.suffix != ".json" or not header.is_file() or not _begins_as_header(header):
            continue
        try:
            content = read_json(header)
        except LapeError:
            continue  # a JSON file that is no header, beside a file from outside the run
        if header == path and "artifact" in content:
            return path
        if str(path.relative_to(header.parent)) in content.get("outputs", {}):
            return header
    return None


def _begins_as_header(path: Path) -> bool:
    """Whether a JSON file may be a header, which names its artifact first. Others, such as a text, may be large."""
    with open(path, "rb") as file:
        return b'"artifact"' in file.read(64)


def _entry(path: Path, run: Path) -> dict:
    header = read_json(path)
    needed = ("artifact", "rule", "command", "inputs", "outputs", "parameters", "versions")
    missing = [key for key in needed if key not in header]
    if missing:
        raise LapeError(
            f"{path}: is not the header of an artifact (no {missing[0]!r}); pass the .json file beside the data"
        )
    written = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC)
    files = {str(path.parent / name): digest for name, digest in header["outputs"].items()}
    entry = {
        "artifact": header["artifact"],
        "rule": header["rule"],
        "command": header["command"],
        "sha256": sha256(path),
        "files": files,
        "inputs": header["inputs"],
        "parameters": header["parameters"],
        "versions": header["versions"],
        "written": written.isoformat(timespec="seconds"),
        "seconds": _seconds(path, run),
    }
    return entry | {key: header[key] for key in ("device", "backend", "dtype") if key in header}


def _seconds(path: Path, run: Path) -> float | None:
    """Seconds that the job took that wrote a header; None where the workflow keeps no log of it."""
    if not path.is_relative_to(run):
        return None
    file = usage_file(run / "logs" / path.relative_to(run))
    return read_usage(file)["seconds"] if file.is_file() else None
