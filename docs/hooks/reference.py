"""The reference pages as Markdown, from the code that they describe: public names, commands, captions."""

import os
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]


def api() -> str:
    """Every public name under its group, for mkdocstrings to describe by the name's docstring."""
    from lape import _GROUPS

    lines = []
    for group, names in _GROUPS.items():
        lines.append(f"## {group}\n")
        for name, module in names.items():
            lines.append(f"::: {module}.{name}\n    options:\n      heading: lape.{name}\n")
    return "\n".join(lines)


def commands() -> str:
    """What `lape COMMAND --help` prints, for every command under its group."""
    from lape.cli import GROUPS, command_parser

    lines = []
    with mock.patch.dict(os.environ, COLUMNS="100"):  # the width that argparse fills
        for group, names in GROUPS.items():
            lines.append(f"## {group[0].upper()}{group[1:]}\n")
            lines += [f"### lape {name}\n\n```text\n{command_parser(name).format_help()}```\n" for name in names]
    return "\n".join(lines)


def captions() -> str:
    """What the report says under each table and figure, by the item's name."""
    from lape.items.registry import ITEMS

    parts = []
    for item in ITEMS:
        caption = (ROOT / "rules" / "captions" / f"{item.name}.rst").read_text(encoding="utf-8")
        parts.append(f"## {item.name}\n\n**{(item.figure or item.table).title}.** {caption}")
    return "\n".join(parts)
