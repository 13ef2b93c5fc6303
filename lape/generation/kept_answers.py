"""Answers that are kept over an interruption, part by part, until the file of all answers is written."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from lape.artifacts.code import code_hash
from lape.artifacts.files import sha256, versions, writing
from lape.artifacts.kept_parts import finished, mark_finished
from lape.generation.answers import counts
from lape.machine import ranks


class KeptAnswers:
    """The parts of a generations artifact, each a file in a folder beside the artifact.

    A part of an earlier run is kept only if everything that shapes its answers is unchanged.

    Args:
        output: the JSON lines of the whole.
        inputs: files that were read.
        code: the modules that decide on a token, see `artifacts.code.code_of`.
        **identity: what else shapes an answer.
    """

    def __init__(self, output: Path, inputs: Iterable[Path], code: Iterable[str], **identity):
        self._output, self._folder = output, output.with_suffix(".parts")
        self._identity = {
            **identity,
            "inputs": {str(path): sha256(path) for path in inputs},
            "code": code_hash(*code),
            "versions": {package: versions()[package] for package in ("torch", "transformers", "tokenizers")},
        }

    def kept(self, name: str) -> dict | None:
        """The notes on a part that an earlier run finished; None where there is none."""
        return finished(self._file(name), self._identity)

    def keep(self, name: str, rows: Iterable[dict], notes: dict) -> None:
        """Write a part of the whole, and notes on it."""
        file = self._file(name)
        with writing(file) as temporary, open(temporary, "w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        mark_finished(file, self._identity, notes)

    def join(self, names: Iterable[str]) -> list[dict]:
        """Write the whole, from its parts in their order; returns the `counts` of its answers."""
        lines = b"".join(self._file(name).read_bytes() for name in names)
        with writing(self._output) as temporary:
            temporary.write_bytes(lines)
        return counts(map(json.loads, lines.strip().split(b"\n")))

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.jsonl"

    def remove(self) -> None:
        """Remove the parts, once the whole has its header."""
        if ranks.writes():
            shutil.rmtree(self._folder, ignore_errors=True)  # another run with this output may have removed them
