"""The one exception that the command line turns into a single clear line, and words that messages share."""

import difflib
import importlib.util
import sys
from collections.abc import Iterable


class LapeError(Exception):
    """Bad input or a failed check.

    The message is one line: it names the file or the key and the remedy. Where it quotes what another library said in
    several, they are joined.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(message.splitlines()))


def first_line(error: BaseException) -> str:
    """The first line of an error's text; the name of its class where it has no text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the most similar known name, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(str(name), known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"


def counted(number: int, noun: str) -> str:
    """A number and its noun, such as "1 fault" and "2,000 faults"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def require(module: str, package: str, extra: str) -> None:
    """Check that a module of an optional package can be imported.

    Args:
        module: what is imported.
        package: the name that it is installed by.
        extra: the extra of lape that installs it.

    Raises:
        LapeError: it is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise LapeError(f'{package}: is not installed for {sys.executable}; install it: pip install "lape[{extra}]"')
