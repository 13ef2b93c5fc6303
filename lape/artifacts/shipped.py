"""The files of the repository that lape reads beside its code: in a checkout where they stand, else in the wheel."""

import functools
from pathlib import Path

from lape.artifacts.code import ROOT
from lape.errors import LapeError

# setup.py puts them into the wheel, below `FOLDER`.
SHIPPED = ("Snakefile", "config", "envs", "profiles", "rules")
FOLDER = Path(__file__).parents[1] / "shipped"


def repository() -> Path:
    """The folder that holds the files of `SHIPPED`: the checkout's, or the one inside the installed package."""
    return ROOT if (ROOT / "Snakefile").is_file() else FOLDER


def snakefile() -> Path:
    """The workflow's Snakefile.

    Raises:
        LapeError: the file is missing: lape was copied without it.
    """
    path = repository() / "Snakefile"
    if not path.is_file():
        raise LapeError(f"{path}: no such file: lape was copied without its workflow; install lape anew")
    return path


@functools.cache
def default_config() -> dict:
    """The content of config/config.yaml, for reading only.

    Raises:
        LapeError: the file is missing: lape was copied without it.
    """
    import yaml

    path = repository() / "config" / "config.yaml"
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise LapeError(f"{path}: cannot be read ({error.strerror}); install lape anew") from error
