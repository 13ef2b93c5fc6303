"""Every message that ends a command, read from the code: what it says, and the remedy that it names."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "lape"
_SAYS_NOTHING = {"self", "join", "map", "str", "repr", "type", "len", "int", "sorted", "first_line", "get"}


def found() -> Iterator[tuple[str, str]]:
    """(package, message) of each LapeError with a text of its own; `{NAME}` stands for what is filled in."""
    for file in sorted(PACKAGE.rglob("*.py")):
        package = file.relative_to(PACKAGE).with_suffix("").parts[0]
        tree = ast.parse(file.read_text(encoding="utf-8"))
        functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "LapeError":
                yield from ((package, text) for text in _texts(node.args[0], functions))


def messages() -> str:
    """The messages by package, each with its remedy."""
    by_package: dict[str, set[str]] = {}
    for package, text in found():
        if re.sub(r"\{.*?\}|\W", "", text):  # more than what is filled in
            by_package.setdefault(package, set()).add(text)
    lines = []
    for package, texts in by_package.items():
        lines += [f"### lape.{package}\n", "| message | what to do |", "|---|---|"]
        lines += [f"| {_cell(fault)} | {_cell(remedy)} |" for fault, remedy in map(split, sorted(texts))]
        lines.append("")
    return "\n".join(lines)


def split(text: str) -> tuple[str, str]:
    """The fault and the remedy of a message, which stand before and behind its last semicolon."""
    fault, _, remedy = text.rpartition("; ")
    return (fault, remedy) if fault else (remedy, "")


def _texts(node: ast.expr, functions: dict[str, ast.FunctionDef]) -> Iterator[str]:
    """What a message may say: a text, or the texts that a function of the same module returns."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions:
        for part in ast.walk(functions[node.func.id]):
            if isinstance(part, ast.Return) and part.value is not None:
                yield from _texts(part.value, {})
    elif isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp):
        yield _template(node)


def _template(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_template, node.values))
    if isinstance(node, ast.BinOp):
        return _template(node.left) + _template(node.right)
    # What is filled in, by the first name in its expression that says something: `path` of `self.path`, `layers` of
    # `', '.join(layers)`.
    names = (getattr(part, "attr", getattr(part, "id", "self")) for part in ast.walk(node))
    return f"{{{next((name for name in names if name not in _SAYS_NOTHING), '...')}}}"


def _cell(text: str) -> str:
    return re.sub(r"([|<*_`\[\]])", r"\\\1", text)
