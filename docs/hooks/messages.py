"""Every message of the code: what it says, and the remedy that it names."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "lape"


def errors() -> Iterator[tuple[str, str]]:
    """(package, message) of each LapeError with a text of its own; `{NAME}` stands for what is filled in."""
    for package, tree in _modules():
        functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Name(id="LapeError"), args=[message]):
                    yield from ((package, text) for text in _texts(message, functions))


def warnings() -> Iterator[tuple[str, str]]:
    """(package, message) of each warning, in the form of `errors`."""
    for package, tree in _modules():
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Attribute(attr="warning"), args=[ast.Constant(value=str(text)), *given]):
                    names = map(_template, given)
                    yield package, re.sub(r"%[.\d]*[sdfg]", lambda _, names=names: next(names), text).replace("%%", "%")


def of_errors() -> str:
    """The messages that end a command, by package, as Markdown."""
    return _by_package(errors())


def of_warnings() -> str:
    """The warnings, by package, as Markdown."""
    return _by_package(warnings())


@cache
def _modules() -> list[tuple[str, ast.Module]]:
    """(package, syntax tree) of every module, in the order of their paths."""
    files = {file: file.relative_to(PACKAGE).with_suffix("").parts[0] for file in sorted(PACKAGE.rglob("*.py"))}
    return [(own, _Constants().visit(ast.parse(file.read_text(encoding="utf-8")))) for file, own in files.items()]


class _Constants(ast.NodeTransformer):
    """Put the constants of a module where it names them."""

    def visit_Module(self, node: ast.Module) -> ast.AST:
        values = [each for each in node.body if isinstance(each, ast.Assign) and isinstance(each.value, ast.Constant)]
        self._values = {each.targets[0].id: each.value for each in values if isinstance(each.targets[0], ast.Name)}
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return self._values.get(node.id, node) if isinstance(node.ctx, ast.Load) else node


def _by_package(found: Iterator[tuple[str, str]]) -> str:
    """A table per package; the remedy of a message stands behind its last semicolon."""
    packages: dict[str, set[str]] = {}
    for package, text in found:
        if re.sub(r"\{.*?\}|\W", "", text):  # more than what is filled in
            packages.setdefault(package, set()).add(text)
    lines = []
    for package, texts in packages.items():
        lines += [f"**lape.{package}**\n", "| message | what to do |", "|---|---|"]
        for text in sorted(texts):
            fault, _, remedy = text.rpartition("; ") if "; " in text else (text, "", "")
            lines.append(f"| {_cell(fault)} | {_cell(remedy)} |")
        lines.append("")
    return "\n".join(lines)


def _texts(node: ast.expr, functions: dict[str, ast.FunctionDef]) -> Iterator[str]:
    """What a message may say: a text, or the texts that a function of the same module returns."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions:
        for part in ast.walk(functions[node.func.id]):
            if isinstance(part, ast.Return) and part.value is not None:
                yield from _texts(part.value, {})
    elif isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp):
        yield _template(node)


def _template(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=value) | ast.FormattedValue(value=ast.Constant(value=value)):
            return str(value)
        case ast.JoinedStr(values=parts):
            return "".join(map(_template, parts))
        case ast.BinOp(op=ast.Add(), left=ast.Constant() | ast.JoinedStr() | ast.BinOp()):
            return _template(node.left) + _template(node.right)
        case _:
            return f"{{{_name(node)}}}"


def _name(node: ast.AST) -> str:
    """The name that says most of what is filled in: `model` of header["model"], `layers` of ", ".join(layers)."""
    match node:
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
        case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=str(name)), *_]):
            return name
        case ast.Attribute(attr="strerror"):
            return "reason"
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case ast.Call(func=ast.Name(id=name)) if name.startswith("_"):  # what a function of the module finds to say
            return name.strip("_")
        case ast.Call(func=ast.Attribute(attr="join"), args=[inner]):
            return _name(inner)
        case ast.Call(func=ast.Attribute(value=inner)) | ast.Call(args=[*_, inner]) | ast.Call(func=inner):
            return _name(inner)
        case ast.FormattedValue(value=inner) | ast.Subscript(value=inner) | ast.BoolOp(values=[inner, *_]):
            return _name(inner)
        case ast.BinOp(left=ast.Constant(), right=inner) | ast.BinOp(left=inner) | ast.GeneratorExp(elt=inner):
            return _name(inner)
        case _:
            return "..."


def _cell(text: str) -> str:
    return re.sub(r"([|<*_`\[\]])", r"\\\1", text)
