"""Which code an artifact depends on: the import closure of the modules that make it, read from their sources.

Snakemake does not watch imported modules, so a rule that calls `lape` has the hash of its code among its parameters. A
part that is kept over an interruption has the hash in its header. No module is imported to find the files, because the
workflow asks while it starts.
"""

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# These read options, write files, report, show results, or find a place to run: an edit there changes no number.
# The last two are tables that are read entry by entry. An artifact depends on one entry alone: an item's entry is in
# the item's rule, an architecture's entry is in the parameters of the rules that load a model.
NOT_FOLLOWED = (
    "lape.cli",
    "lape.errors",
    "lape.artifacts",
    "lape.commands.arguments",
    "lape.display",
    "lape.machine.allocator",
    "lape.machine.device",
    "lape.machine.gpus",
    "lape.machine.progress",
    "lape.items.registry",
    "lape.model.architectures",
)
# A module reads the data beside it.
_DATA = ("*.csv", "*.txt", "*.html", "*.css", "*.js")


def code_of(*modules: str) -> list[Path]:
    """The files whose edit may change what some modules compute.

    Args:
        *modules: names such as "lape.neurons.selection".

    Returns:
        the sources of the modules and of all that they import from `lape`, directly or not; the data beside these; and
        `csrc/`, where one of them calls the operators. Sorted. A module of `NOT_FOLLOWED` is there where it is named.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += _imports(module)
    files = {_source(module) for module in found}
    files |= {data for folder in {file.parent for file in files} for data in _data(folder)}
    if "lape.kernels.ops" in found:
        files |= set(_kernels())
    return sorted(files)


def code_hash(*modules: str) -> str:
    """Hash of the names and the contents of the files of `code_of`."""
    digest = hashlib.sha256()
    for file in code_of(*modules):
        digest.update(f"{file.relative_to(ROOT).as_posix()}\0".encode() + _digest(file, file.stat().st_mtime_ns))
    return digest.hexdigest()


@functools.cache
def _digest(file: Path, written: int) -> bytes:
    """Hash of the contents of a file that was written at some time. A hundred rules have most files in common."""
    return hashlib.sha256(file.read_bytes()).digest()


def _source(module: str) -> Path:
    file = _file(module)
    if file is None:
        raise ModuleNotFoundError(f"no module {module!r} in {ROOT}")
    return file


@functools.cache
def _file(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@functools.cache
def _data(folder: Path) -> tuple[Path, ...]:
    """The data in a folder of sources. The workflow asks for each folder in a hundred rules."""
    return tuple(data for pattern in _DATA for data in folder.glob(pattern))


def _kernels() -> list[Path]:
    """The sources of the extension. Without sources, as in a wheel, it is the extension itself."""
    sources = ROOT / "csrc"
    return list(sources.iterdir() if sources.is_dir() else (ROOT / "lape" / "kernels").glob("_C*"))


@functools.cache
def _imports(module: str) -> tuple[str, ...]:
    """The modules of `lape` that a module imports anywhere in its source, without those of `NOT_FOLLOWED`."""
    tree = ast.parse(_source(module).read_text(encoding="utf-8"))
    named = {name for node in _statements(tree) for name in _names(node) if name.split(".")[0] == "lape"}
    return tuple(sorted(name for name in named if _followed(name)))


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """The statements below a node at any depth. An import is one of them, and their expressions are many times more."""
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        for inner in getattr(node, field, ()):
            yield inner
            yield from _statements(inner)


def _names(node: ast.AST) -> Iterator[str]:
    """The modules that one statement imports. A name that `from` takes out of a package may be a module of it."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            yield inner if node.module.split(".")[0] == "lape" and _file(inner) else node.module


def _followed(module: str) -> bool:
    return module != "lape" and not any(module == name or module.startswith(f"{name}.") for name in NOT_FOLLOWED)
