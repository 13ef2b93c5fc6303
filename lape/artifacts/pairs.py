"""A data file and the JSON header beside it, which users name by either."""

from pathlib import Path

from lape.errors import LapeError


def named_pair(path: str | Path, suffix: str, what: str, others: str = "") -> tuple[Path, Path]:
    """The paths of a header and of its data file, from either of the two.

    Args:
        path: `<name>.json` or `<name><suffix>`.
        suffix: of the data file, such as ".tsv".
        what: what the files hold, for the message.
        others: what reads files of other kinds, for the message.

    Returns:
        (header, data file). They may not exist.

    Raises:
        LapeError: the path has another suffix.
    """
    path = Path(path)
    if path.suffix not in (".json", suffix):
        raise LapeError(
            f"{path}: no name of {what}; pass a {suffix} file or the .json header beside it{others and f'; {others}'}"
        )
    return path.with_suffix(".json"), path.with_suffix(suffix)
