"""Names of sets. A set holds the neurons or parameters that were selected for one language, and has its name."""

from collections.abc import Sequence

from lape.errors import LapeError


def known_sets(sets: str | Sequence[str], known: Sequence[str], origin: str) -> list[str]:
    """Turn one name or several into a list, and check that there is a set of each name.

    Args:
        sets: a name, or several.
        known: the names of all sets.
        origin: what the message calls the owner of the sets.

    Raises:
        LapeError: there is no set of a name.
    """
    names = [sets] if isinstance(sets, str) else list(sets)
    for name in names:
        if name not in known:
            raise LapeError(f"{origin}: no set {name!r}; there are {', '.join(known)}")
    return names
