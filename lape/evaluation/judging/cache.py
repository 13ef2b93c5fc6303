"""Verdicts on disk, found by the request. A second run costs nothing; a killed run loses only the calls in flight."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from lape.artifacts.files import read_json, write_json
from lape.errors import LapeError


def fingerprint(request: Mapping, endpoint: str = "") -> str:
    """SHA-256 of a request (model, messages and sampling parameters) and of the endpoint that it is sent to."""
    return hashlib.sha256(json.dumps([endpoint, request], sort_keys=True).encode()).hexdigest()


class VerdictCache:
    """A folder of verdicts, one JSON file per verdict. Runs at the same time may share the folder.

    Args:
        folder: the folder, which is made with the first verdict.
        endpoint: address of the endpoint. Verdicts are kept apart by it, as local servers give different models one
            name.
    """

    def __init__(self, folder: str | Path, endpoint: str = ""):
        self.folder, self._endpoint = Path(folder), endpoint

    def missing(self, requests: Iterable[Mapping]) -> list[Mapping]:
        """The requests that have no verdict, each once, in their order."""
        distinct = {fingerprint(request, self._endpoint): request for request in requests}
        return [request for request in distinct.values() if self.read(request) is None]

    def read(self, request: Mapping) -> dict | None:
        """Read the verdict on a request.

        Returns:
            {"request", "verdict", "served": the endpoint's name of the model that answered}; None where the request has
            no verdict.

        Raises:
            LapeError: the file is damaged.
        """
        path = self._path(request)
        if not path.is_file():
            return None
        remedy = "delete it and run `lape judge` again, which asks once more"
        try:
            entry = read_json(path)
        except LapeError as error:
            raise LapeError(f"{path}: is no whole verdict; {remedy}") from error
        if entry.get("request") != request or not isinstance(entry.get("verdict"), str):
            raise LapeError(f"{path}: is not a verdict on what its name says; {remedy}")
        return entry

    def write(self, request: Mapping, verdict: str, served: str | None) -> None:
        """Write the verdict on a request."""
        write_json(self._path(request), {"request": request, "verdict": verdict, "served": served})

    def _path(self, request: Mapping) -> Path:
        key = fingerprint(request, self._endpoint)
        return self.folder / key[:2] / f"{key}.json"
