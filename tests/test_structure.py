"""The tree as CONTRIBUTING.md describes it: who imports whom, what lies at the root, and how long commands are."""

import ast
import itertools
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from tiny_data import ROOT

PACKAGE = ROOT / "lape"
TESTS = ROOT / "tests"
# Lines of a function in a command.
LONGEST = 60
# The public names, the command, the checked configuration and the one exception.
AT_THE_ROOT = {"__init__", "__main__", "cli", "config", "errors"}
# The root's door and the command are above everything: they name modules of all packages, and no package needs them.
DOORS = {"__init__", "__main__"}


def imported(file: Path) -> Iterator[str]:
    """Modules that a file imports anywhere, in its functions, too; of `from a import b` both a and a.b."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: a relative import"
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def part(module: str) -> str | None:
    """The package or the root's module below `lape` that a module belongs to."""
    _, _, rest = module.partition("lape.")
    name = rest.split(".")[0] if module.startswith("lape.") else ""
    return name if (PACKAGE / name).is_dir() or name in AT_THE_ROOT else None


def graph() -> dict[str, dict[str, set[str]]]:
    """What each part imports of the others, and the files that do."""
    found: dict[str, dict[str, set[str]]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        own = file.relative_to(PACKAGE).with_suffix("").parts[0]
        if own in DOORS:
            continue
        edges = found.setdefault(own, {})
        for module in imported(file):
            if (other := part(module)) and other != own:
                edges.setdefault(other, set()).add(str(file.relative_to(ROOT)))
    return found


def test_packages_import_one_another_in_no_circle():
    edges = graph()
    try:
        list(TopologicalSorter(edges).static_order())
    except CycleError as error:
        circle = error.args[1][::-1]  # each imports the next
        lines = [f"{a} -> {b}: {', '.join(sorted(edges[a][b]))}" for a, b in itertools.pairwise(circle)]
        raise AssertionError("\n".join(lines)) from None


def test_five_modules_lie_at_the_root():
    assert {file.stem for file in PACKAGE.glob("*.py")} == AT_THE_ROOT


def test_no_test_imports_another():
    """What several tests need lies in tests/helpers: a test that is moved or run alone takes nothing along."""
    tests = {file.stem for file in TESTS.rglob("test_*.py")}
    importing = {
        f"{file.relative_to(ROOT)} imports {module}"
        for file in TESTS.rglob("*.py")
        for module in imported(file)
        if tests & set(module.split("."))
    }
    assert importing == set()


@pytest.mark.parametrize("path", sorted((PACKAGE / "commands").glob("*.py")), ids=lambda path: path.stem)
def test_no_function_of_a_command_is_long(path):
    """A command says what it does in named steps; what takes more belongs to the library."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            lines = node.end_lineno - node.lineno + 1
            assert lines <= LONGEST, f"{path.name}: {node.name} has {lines} lines"
