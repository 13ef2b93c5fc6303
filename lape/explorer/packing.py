"""The page as a file: its parts compressed inside it, or beyond 20 MB the neurons' cards in files beside it."""

import base64
import gzip
import json
from collections.abc import Collection
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from lape.artifacts.files import writing

# Bytes of the page beyond which the neurons' cards lie in files beside it.
LARGEST = 20e6
# In the order in which they are read: each may use those before it.
_SCRIPTS = ("parts", "charts", "neurons", "card", "sets", "answers", "main")


@dataclass(frozen=True)
class Page:
    """A page before it is written.

    Attributes:
        fields: what the template is filled with.
        parts: name -> packed part that lies in the page.
        beside: name -> packed part that may lie beside the page.
    """

    fields: dict
    parts: dict[str, str]
    beside: dict[str, str]

    def write(self, path: Path, largest: float = LARGEST) -> list[Path]:
        """Write the page, and beyond `largest` bytes its cards into files beside it, in <name>.data.

        Returns:
            the files that were written.

        Raises:
            LapeError: the folder cannot be written.
        """
        folder = path.with_suffix(".data")
        apart = sum(map(len, (*self.parts.values(), *self.beside.values()))) > largest
        files = {folder / f"{name}.js": part for name, part in self.beside.items()} if apart else {}
        for file, part in files.items():
            with writing(file) as temporary:
                temporary.write_text(f'takePart("{file.stem}", "{part}");\n', encoding="ascii")
        parts = self.parts if apart else self.parts | self.beside
        html = _template().render(**self.fields, parts=parts, folder=folder.name if apart else "")
        with writing(path) as temporary:
            # A lone surrogate, which UTF-8 cannot hold, becomes a reference that browsers show as a missing character.
            temporary.write_bytes(html.encode("utf-8", "xmlcharrefreplace"))
        _remove_all_but(files, folder)
        return [path, *files]


def packed(content: object) -> str:
    """A part of the page: JSON in ASCII, compressed, as base64. Nothing in it can be taken for markup."""
    return squeezed(json.dumps(content, separators=(",", ":"), allow_nan=False))


def squeezed(text: str) -> str:
    """A text, compressed, as base64."""
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode("ascii")


def _remove_all_but(files: Collection[Path], folder: Path) -> None:
    """Remove the files of a former page."""
    for file in folder.glob("*.js"):
        if file not in files:
            file.unlink()
    if folder.is_dir() and not files:
        folder.rmdir()


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader(__package__, "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.globals |= {
        "style": _own("page.css"),
        "script": Markup("\n").join(_own(f"{name}.js") for name in _SCRIPTS),
    }
    return environment.get_template("page.html")


def _own(name: str) -> Markup:
    """A style sheet or a script of this package, as it stands in the page."""
    return Markup((resources.files(__package__) / name).read_text(encoding="utf-8"))
