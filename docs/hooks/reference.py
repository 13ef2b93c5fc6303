"""The reference pages as Markdown, from the code that they describe: public names, commands, items."""

import os
import re
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
_GROUP = re.compile(r"^    # (?P<group>.*)\.$|^    \"(?P<name>\w+)\": \"(?P<module>[\w.]+)\",$", re.MULTILINE)


def api() -> str:
    """Every public name under its group, for mkdocstrings to describe by the name's docstring."""
    source = (ROOT / "lape" / "__init__.py").read_text(encoding="utf-8")
    lines = []
    for match in _GROUP.finditer(source):
        if match["group"]:
            lines.append(f"## {match['group']}\n")
        else:
            heading = f"    options:\n      heading: lape.{match['name']}\n"
            lines.append(f"::: {match['module']}.{match['name']}\n{heading}")
    return "\n".join(lines)


def commands() -> str:
    """What `lape COMMAND --help` prints, for every command."""
    from lape.cli import COMMANDS, command_parser

    with mock.patch.dict(os.environ, COLUMNS="100"):  # the width that argparse fills
        return "\n".join(
            f"## lape {name}\n\n{text[0].upper()}{text[1:]}.\n\n```text\n{command_parser(name).format_help()}```\n"
            for name, text in COMMANDS.items()
        )


def items() -> str:
    """Every table and figure under its name: which targets make it, and its caption."""
    from lape.items.registry import ITEMS

    parts = []
    for item in ITEMS:
        kinds = " and ".join(kind for kind, part in (("a table", item.table), ("a figure", item.figure)) if part)
        caption = (ROOT / "rules" / "captions" / f"{item.name}.rst").read_text(encoding="utf-8")
        title = (item.figure or item.table).title
        names = "".join(f", `{name}`" for name in item.aliases)
        made = f"{kinds.capitalize()}; targets `{item.name}`{names} and `{item.target}`."
        parts.append(f"## {item.name}\n\n**{title}.** {made}\n\n{caption}")
    return "\n".join(parts)
