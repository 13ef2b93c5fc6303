"""Parts of a long step that are kept, file by file, so that an interrupted run goes on where it was."""

from collections.abc import Iterable
from pathlib import Path

from lape.artifacts.files import read_json, remove_abandoned, sha256, write_json
from lape.errors import LapeError
from lape.machine import ranks


def mark_finished(file: Path, identity: dict, notes: dict | None = None) -> None:
    """Note beside a file, in JSON, that it is whole, what shaped it, and what else is to be kept."""
    write_json(file.with_suffix(".json"), {**identity, "sha256": sha256(file), "notes": notes or {}})


def finished(file: Path, identity: dict) -> dict | None:
    """The notes on a file that an earlier run finished under the same identity; None where there is no such file.

    Ranks that share a model go by what the first of them finds.
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
        return None  # not whole


def remove_others(folder: Path, files: Iterable[Path]) -> None:
    """Remove what a run with other parts left in their folder; it would be taken for parts of the whole."""
    remove_abandoned(folder)
    kept = set(files)
    for file in folder.iterdir() if ranks.writes() else ():
        if file not in kept and file.is_file():  # what is written just now lies in a folder
            file.unlink(missing_ok=True)
