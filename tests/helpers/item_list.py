"""The list of items in docs/reference/items.md, made from the registry: `make format` writes it anew."""

from pathlib import Path

from lape.items.registry import ITEMS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "items.md"
_HEAD = "| item | also called | made by | what it shows |\n|---|---|---|---|\n"


def with_items(page: str) -> str:
    """The text of the page with a row per item in its list."""
    before, after = page.split(_HEAD)
    rest = after.partition("\n\n")[2]
    rows = []
    for item in ITEMS:
        titles = dict.fromkeys(part.title for part in (item.table, item.figure) if part)
        titles = [title for title in titles if not title.startswith("Data of")]
        aliases = " ".join(f"`{alias}`" for alias in item.aliases)
        rows.append(f"| `{item.name}` | {aliases} | `{item.target}` | {'; '.join(titles)} |")
    return before + _HEAD + "\n".join(rows) + "\n\n" + rest


if __name__ == "__main__":
    PAGE.write_text(with_items(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
