"""Verdicts on disk, found by what was asked: a second run costs nothing, a killed one loses the calls in flight."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from lape.artifacts.files import read_json, write_json
from lape.errors import LapeError


def fingerprint(request: Mapping, endpoint: str = "") -> str:
    """SHA-256 of a request, of model, messages and sampling parameters, and of where it is sent."""
    return hashlib.sha256(json.dumps([endpoint, request], sort_keys=True).encode()).hexdigest()


class VerdictCache:
    """A folder of verdicts, a JSON file each; runs at the same time may share it.

    Args:
        folder: made with the first verdict.
        endpoint: whose verdicts they are: local servers call different models by one name.
    """

    def __init__(self, folder: str | Path, endpoint: str = ""):
        self.folder, self._endpoint = Path(folder), endpoint

    def missing(self, requests: Iterable[Mapping]) -> list[Mapping]:
        """The requests without a verdict, each once, in their order."""
        distinct = {fingerprint(request, self._endpoint): request for request in requests}
        return [request for request in distinct.values() if self.read(request) is None]

    def read(self, request: Mapping) -> dict | None:
        """What is known of a request: {"request", "verdict", "served": the endpoint's name of what answered}.

        Returns:
            None where it was never answered.

        Raises:
            LapeError: the file is damaged.
        """
        path = self._path(request)
        if not path.is_file():
            return None
        entry = read_json(path)
        if entry.get("request") != request or not isinstance(entry.get("verdict"), str):
            raise LapeError(f"{path}: is not a verdict on what its name says; delete it and run `lape judge` again")
        return entry

    def write(self, request: Mapping, verdict: str, served: str | None) -> None:
        """Keep a verdict."""
        write_json(self._path(request), {"request": request, "verdict": verdict, "served": served})

    def _path(self, request: Mapping) -> Path:
        key = fingerprint(request, self._endpoint)
        return self.folder / key[:2] / f"{key}.json"
