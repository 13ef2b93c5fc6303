"""A finished run as its manifest lists it: the headers of its artifacts, by kind."""

from functools import cache
from pathlib import Path

from lape.artifacts.files import read_json
from lape.errors import LapeError


class Run:
    """The artifacts that a manifest lists. Paths are relative to the working directory, as in the manifest.

    Attributes:
        manifest: the content of the manifest.
        config: the configuration of the run.
        name: the name of the run.
    """

    def __init__(self, path: str | Path):
        """Read a manifest.

        Raises:
            LapeError: the manifest is missing, or is not whole.
        """
        self.manifest = read_json(path, "manifest")
        try:
            self.config, self._entries = self.manifest["config"], self.manifest["artifacts"]
            self.name = str(self.config.get("run", Path(path).resolve().parent.name))
            self._kinds = {name: entry["artifact"] for name, entry in self._entries.items()}
            # To the minute, as the newest header was written: the same artifacts give the same page.
            self.date = max((entry["written"] for entry in self._entries.values()), default="")[:16].replace("T", " ")
        except (KeyError, TypeError, AttributeError) as error:
            raise LapeError(f"{path}: is not a whole manifest ({error!r}); run the workflow again") from error
        self._header = cache(read_json)

    def headers(self, artifact: str) -> dict[Path, dict]:
        """Path -> header of every artifact of a kind, in the order of the manifest.

        Raises:
            LapeError: a header is missing or damaged.
        """
        return {Path(name): self._header(name, artifact) for name, kind in self._kinds.items() if kind == artifact}

    def table(self, item: str) -> Path | None:
        """The header of an item's table; None where the run has no such table."""
        return next((path for path, header in self.headers("table").items() if header["item"] == item), None)
