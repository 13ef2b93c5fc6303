"""What a source reports while it is read: the files it opened and the rows it could not use."""

from dataclasses import dataclass, field
from pathlib import Path

_NAMED = 100  # bad rows that the report names; it counts all of them


@dataclass
class Reading:
    """Notes of one pass over a source.

    Attributes:
        inputs: files that were read, in order.
        bad: number of rows that hold no usable document.
        examples: "where: why" for each of the first hundred bad rows.
        newest: id from which on documents are for evaluation, where ids grow with time; None where the documents for
            evaluation are not chosen by id.
    """

    inputs: list[Path] = field(default_factory=list)
    bad: int = 0
    examples: list[str] = field(default_factory=list)
    newest: int | None = None

    def refuse(self, where: str, reason: str) -> None:
        """Count a row that cannot be used."""
        self.bad += 1
        if len(self.examples) < _NAMED:
            self.examples.append(f"{where}: {reason}")

    def document(self, where: str, identity: object, text: object) -> tuple[str, str] | None:
        """The (id, text) of a row. A row without an id, or without a text that UTF-8 can hold, is refused: None."""
        reason = _fault(identity, text)
        if reason is not None:
            return self.refuse(where, reason)
        return str(identity), text


def _fault(identity: object, text: object) -> str | None:
    if not isinstance(text, str):
        return f"the text is {type(text).__name__}, not a string"
    if not text.strip():
        return "the text is empty"
    if not isinstance(identity, str | int):
        return f"the id is {type(identity).__name__}, not a string or an integer"
    try:
        f"{identity}{text}".encode()
    except UnicodeEncodeError:
        return "it holds half a surrogate pair, which is no character"
    return None
