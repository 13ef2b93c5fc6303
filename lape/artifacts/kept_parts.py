"""Keep the finished parts of a long step, one file each, so that an interrupted run goes on where it was."""

from collections.abc import Iterable
from pathlib import Path

from lape.artifacts.files import read_json, remove_abandoned, sha256, write_json
from lape.errors import LapeError
from lape.machine import ranks


def mark_finished(file: Path, identity: dict, notes: dict | None = None) -> None:
    """Write a JSON file beside a part, which says that the part is whole, what shaped it, and any notes."""
    write_json(file.with_suffix(".json"), {**identity, "sha256": sha256(file), "notes": notes or {}})


def finished(file: Path, identity: dict) -> dict | None:
    """The notes on a part that an earlier run finished under the same identity; None where there is no such part.

    Ranks that share a model all go by what the first rank finds.
    """
    return ranks.gathered(_finished(file, identity))[0]


def _finished(file: Path, identity: dict) -> dict | None:
    header = file.with_suffix(".json")
    if not (file.is_file() and header.is_file()):
        return None
    try:
        found = read_json(header)
        notes = found.pop("notes", None)
        return notes if found == {**identity, "sha256": sha256(file)} else None
    except LapeError:
        return None  # a damaged part is made again


def remove_others(folder: Path, files: Iterable[Path]) -> None:
    """Remove files that a run with other parts left in the folder. They would be taken for parts of this run."""
    remove_abandoned(folder)
    kept = set(files)
    for file in folder.iterdir() if ranks.writes() else ():
        if file not in kept and file.is_file():  # files that are being written lie in a hidden folder
            file.unlink(missing_ok=True)
