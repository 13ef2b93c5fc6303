"""Blocks of responses while they are made: each is kept over an interruption."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lape.artifacts.files import writing
from lape.artifacts.kept_parts import finished, mark_finished, remove_others
from lape.errors import LapeError
from lape.expert_units.blocks import BLOCK, Column


class KeptBlocks:
    """The blocks of a responses artifact, which files hold, and those that are still to be made.

    Args:
        folder: of the files.
        columns: every sentence, in the order of the columns.
        identity: what shapes the numbers besides the columns. A block of an earlier run is kept only if all of it, and
            the block's own columns, are unchanged.

    Attributes:
        columns: file -> the columns of its block.
        done: files of the blocks that are finished.
    """

    def __init__(self, folder: Path, columns: Sequence[Column], identity: dict):
        self._folder = folder
        starts = enumerate(range(0, len(columns), BLOCK))
        self.columns = {folder / f"{block}.npy": columns[first : first + BLOCK] for block, first in starts}
        # Sentences of one length stand in the order of the languages: the texts alone do not tell the columns.
        self._identities = {
            file: {**identity, "columns": hashlib.sha256(json.dumps(block).encode()).hexdigest()}
            for file, block in self.columns.items()
        }
        self.done = {file for file, own in self._identities.items() if finished(file, own) is not None}

    @property
    def missing(self) -> int:
        """Sentences whose block is still to be made."""
        return sum(len(block) for file, block in self.columns.items() if file not in self.done)

    @property
    def batch_size(self) -> int:
        """The smallest size of a batch in any block, once all are finished."""
        return min(finished(file, identity)["batch_size"] for file, identity in self._identities.items())

    @property
    def files(self) -> list[Path]:
        """The files of the blocks, then the notes beside them."""
        return [*self.columns, *(file.with_suffix(".json") for file in self.columns)]

    def make_room(self, wanted: int) -> None:
        """Remove what is no finished block, and refuse to start where the disk has less room than is wanted.

        Args:
            wanted: bytes of the blocks that are still to be made.

        Raises:
            LapeError: the folder cannot be written, or the disk is too full.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            remove_others(self._folder, [*self.done, *(file.with_suffix(".json") for file in self.done)])
        except OSError as error:
            raise LapeError(
                f"{self._folder}: cannot be written ({error.strerror}); make its folder writable"
            ) from error
        free = shutil.disk_usage(self._folder).free
        if free < wanted:
            raise LapeError(
                f"{self._folder}: no space left: {wanted / 1e9:.2f} GB are wanted, {free / 1e9:.2f} GB are free; free "
                "some disk, or set expert_units.storage to float16"
            )

    def keep(self, file: Path, responses: np.ndarray, batch_size: int) -> None:
        """Write a block, and note the size of the batches that made it."""
        with writing(file) as temporary:
            np.save(temporary, responses)
        mark_finished(file, self._identities[file], {"batch_size": batch_size})
        self.done.add(file)
