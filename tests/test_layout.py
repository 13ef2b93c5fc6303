"""The layout of the package: what a module may be like, whatever it does."""

import ast

import pytest
from tiny_data import ROOT

LONGEST = 60


@pytest.mark.parametrize("path", sorted((ROOT / "lape" / "commands").glob("*.py")), ids=lambda path: path.stem)
def test_no_function_of_a_command_is_long(path):
    """A command says what it does in named steps; what takes more belongs to the library."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            lines = node.end_lineno - node.lineno + 1
            assert lines <= LONGEST, f"{path.name}: {node.name} has {lines} lines"
