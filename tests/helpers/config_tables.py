"""The tables of keys in config/README.md, made from config/schema.yaml: `make format` writes them anew.

The README decides which keys stand under which heading, by a row that begins with the key's name.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
README, SCHEMA = ROOT / "config" / "README.md", ROOT / "config" / "schema.yaml"
_ROW = re.compile(r"^\| `(?P<key>[\w.<>]+)` \|.*$", re.MULTILINE)
# A default that fills more of a line is looked up in config.yaml.
_LONGEST_DEFAULT = 90


def leaves(schema: dict, prefix: str = "") -> Iterator[tuple[str, dict]]:
    """Every key of the schema that has no keys of its own, with its schema; free-form mappings count as one key."""
    for key, value in schema.get("properties", {}).items():
        if "properties" in value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def described_keys(schema: dict) -> dict[str, dict]:
    """Every key that the README describes, those of the entries of a mapping among them, with its schema."""
    mappings = {
        name: schema["properties"][name]["additionalProperties"] for name in ("catalogue", "tasks", "downloads")
    }
    keys = {key: value for key, value in leaves(schema) if key not in mappings}
    for name in ("catalogue", "tasks"):
        keys |= {f"{name}.<name>.{key}": value for key, value in mappings[name]["properties"].items()}
    for kind in ("then", "else"):
        keys |= {f"downloads.<name>.{key}": value for key, value in mappings["downloads"][kind]["properties"].items()}
    dataset = schema["properties"]["instructions"]["properties"]["hub"]["additionalProperties"]
    return keys | {f"instructions.hub.<language>.{key}": value for key, value in dataset["properties"].items()}


def _resolved(value: dict, schema: dict) -> dict:
    """A key's schema with what it refers to."""
    if "$ref" not in value:
        return value
    return schema["$defs"][value["$ref"].rsplit("/", 1)[1]] | value


def _words(value) -> str:
    """A value as YAML writes it in one line, without quotes."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value).replace("\n", "\\n")


def _kind(value: dict) -> str:
    if "enum" in value:
        return " | ".join(map(_words, value["enum"]))
    kind = value.get("type") or [each.get("type", "string") for each in value.get("anyOf", value.get("oneOf", [{}]))]
    return kind if isinstance(kind, str) else " | ".join(kind)


def _default(value: dict) -> str:
    if "default" not in value:
        return ""
    default = value["default"]
    if isinstance(default, dict) and default:
        return "see config.yaml"
    if isinstance(default, list) and default:
        spaced = any(" " in str(each) or "\n" in str(each) for each in default)
        text = "` `".join(map(_words, default)) if spaced else " ".join(map(_words, default))
    else:
        text = _words(default)
    return f"`{text}`" if len(text) <= _LONGEST_DEFAULT else "see config.yaml"


def tables(readme: str, schema: dict) -> str:
    """The text of the README with each row of a key as the schema describes it.

    Raises:
        KeyError: the README has a row of a key that the schema lacks, or lacks one.
    """
    keys, rows = described_keys(schema), []

    def row(match: re.Match) -> str:
        rows.append(match["key"])
        value = _resolved(keys[match["key"]], schema)
        cells = (f"`{match['key']}`", _kind(value), _default(value), value["description"])
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    text = _ROW.sub(row, readme)
    if missing := keys.keys() - set(rows):
        raise KeyError(f"config/README.md has no row of {sorted(missing)}")
    return text


if __name__ == "__main__":
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    README.write_text(tables(README.read_text(encoding="utf-8"), schema), encoding="utf-8")
