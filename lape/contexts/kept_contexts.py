"""Contexts that are kept over an interruption: the record of the shards of a text that are finished."""

from dataclasses import fields
from pathlib import Path

import numpy as np

from lape.artifacts.files import writing
from lape.artifacts.kept_parts import finished, mark_finished
from lape.contexts.recording import Contexts, Places


class KeptContexts:
    """The sum of the finished shards' records, in one file beside the artifact.

    Args:
        output: the JSON lines of the whole.
        identity: what shapes the record. A record of an earlier run is kept only if nothing of this has changed.
    """

    def __init__(self, output: Path, identity: dict):
        self._file, self._identity = output.with_suffix(".partial.npz"), identity

    def load(self) -> tuple[int, Contexts | None]:
        """The number of finished shards, and their record; 0 and None where there is none."""
        notes = finished(self._file, self._identity)
        if notes is None:
            return 0, None
        with np.load(self._file, allow_pickle=False) as arrays:
            places = {name: Places(*(arrays[f"{name}.{part}"] for part in Places._fields)) for name in _PLACES}
            plain = {each.name: arrays[each.name] for each in fields(Contexts) if each.name not in places}
            return notes["shards"], Contexts(**plain | places | {"tokens": int(plain["tokens"])})

    def keep(self, shards: int, contexts: Contexts) -> None:
        """Write the record of the first shards."""
        arrays = {each.name: getattr(contexts, each.name) for each in fields(Contexts)}
        for name in _PLACES:
            places = arrays.pop(name)
            arrays |= {f"{name}.{part}": getattr(places, part) for part in Places._fields}
        with writing(self._file) as temporary:
            np.savez(temporary, **arrays)
        mark_finished(self._file, self._identity, {"shards": shards})

    def remove(self) -> None:
        """Remove the record, once the whole has its header."""
        for file in (self._file, self._file.with_suffix(".json")):
            file.unlink(missing_ok=True)


_PLACES = ("strongest", "by_bin")
