"""The one exception that the command line turns into a single clear line."""


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
