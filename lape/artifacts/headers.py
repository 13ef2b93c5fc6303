"""The fields of artifacts' headers and their types. A field that is missing or of another type gives one clear line.

A header lies on the disk for years, and is copied and edited by hand. No command trusts that it is whole.
"""

import re
from collections.abc import Callable
from pathlib import Path

from lape.errors import LapeError


class Header(dict):
    """An object of a JSON file. Looking up a key that it lacks raises LapeError, as the fault is the file's."""

    def __init__(self, path: str | Path, content: dict):
        super().__init__(content)
        self.path = path

    def __missing__(self, key: object) -> None:
        raise LapeError(f"{self.path}: has no {key!r}; run the step that makes it again")


def is_name(value: object) -> bool:
    """Whether a value can be the name of a language or a model: a part of a path, and neither a path nor an option."""
    return isinstance(value, str) and re.fullmatch(r"\w[\w.-]*", value) is not None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.isprintable()


def _is_whole(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_site(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and _is_text(value[1])
        and all(map(_is_whole, (value[0], *value[2:])))
    )


def _all(values: object, kind: Callable[[object], bool]) -> bool:
    return isinstance(values, list) and all(map(kind, values))


def _each(values: object, kind: Callable[[object], bool]) -> bool:
    return isinstance(values, dict) and all(map(kind, values.values()))


def _or_null(kind: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or kind(value)


# Names of fields -> their type in words, and a test of it. A field has the same type in every header, unless it is
# listed here as <artifact>.<field>.
_KINDS: dict[str, tuple[str, Callable[[object], bool]]] = {
    "language source_language corpus": ("a name", is_name),
    "languages sets": ("a list of names", lambda value: _all(value, is_name)),
    "artifact item model name source path setting kind split pooling task": ("text", _is_text),
    "checkpoint method deactivated activated scheme": ("text or null", _or_null(_is_text)),
    "revision model_revision": ("text or null", _or_null(_is_text)),
    "dtype": ("a dtype of torch", lambda value: value in ("float32", "bfloat16", "float16")),
    "experts": ("a number from 1", lambda value: _is_whole(value) and value > 0),
    "layers neurons_per_layer vocab_size tokens units chunks width": ("a whole number", _is_whole),
    "sites": ("a list of sites", lambda value: _all(value, _is_site)),
    "context_length bos_token_id begins_with bos prefix": ("a whole number or null", _or_null(_is_whole)),
    "generations.prompt scores.prompt judgements.prompt": ("text", _is_text),
    "table.languages figure.languages": ("a list of texts", lambda value: _all(value, _is_text)),
    "stability.shards": ("numbers by name", lambda value: _each(value, lambda each: _all(each, _is_whole))),
    "neurons.tokens steering.tokens": ("whole numbers by name", lambda value: _each(value, _is_whole)),
    "numbers": ("a list of whole numbers", lambda value: _all(value, _is_whole)),
    "columns": ("a list of texts", lambda value: _all(value, _is_text)),
    "parameters versions": ("an object", lambda value: isinstance(value, dict)),
    "steering": ("an object or null", _or_null(lambda value: isinstance(value, dict))),
    "inputs outputs hashes weights": ("hashes by name", lambda value: _each(value, _is_text)),
    "sizes": ("sizes by name", lambda value: _each(value, _is_whole)),
    "shards linear_layers": ("a list of objects", lambda value: _all(value, lambda one: isinstance(one, dict))),
}
_FIELDS = {name: kind for names, kind in _KINDS.items() for name in names.split()}


def check_fields(path: str | Path, header: dict) -> None:
    """Check the type of every field whose name is known.

    Raises:
        LapeError: a field has another type. The message names the field.
    """
    for name, value in header.items():
        what, fits = _FIELDS.get(f"{header['artifact']}.{name}") or _FIELDS.get(name, ("", None))
        if fits and not fits(value):
            raise LapeError(f"{path}: its {name} is {value!r:.60}, not {what}; run the step that makes it again")
