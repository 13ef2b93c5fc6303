"""Names of sets: the languages that neurons or parameters were selected for."""

from collections.abc import Sequence

from lape.errors import LapeError


def known_sets(sets: str | Sequence[str], known: Sequence[str], origin: str) -> list[str]:
    """One name or several as a list, once they are known.

    Args:
        sets: a name, or several.
        known: the names that there are.
        origin: what the message calls their owner.

    Raises:
        LapeError: there is no such set.
    """
    names = [sets] if isinstance(sets, str) else list(sets)
    for name in names:
        if name not in known:
            raise LapeError(f"{origin}: no set {name!r}; there are {', '.join(known)}")
    return names
