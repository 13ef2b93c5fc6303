"""Forging a finished run of the tiny workflow, which is the working directory: shared by the tests of `lape audit`."""

import random
from pathlib import Path

from lape.artifacts.files import read_json, sha256, write_json
from lape.artifacts.manifest import build_manifest

RUN = Path("results/tiny")
MANIFEST = RUN / "manifest.json"
DIFFERS = "differs from the hash in the manifest"
# In the order in which data flow.
STAGES = (
    "corpus",
    "models",
    "tokens",
    "statistics",
    "neurons/tiny/lape",
    "neurons/tiny/active_lape",
    "neurons/tiny/matched_lape",
    "perplexity",
    "draws",
    "tables",
    "figures",
    "tables/claims",  # which read other tables
)


def reseal() -> None:
    """Forge a consistent run: write every hash anew, from the corpus on, so that only the numbers can tell."""

    def place(path: Path) -> int:
        name = str(path.relative_to(RUN))
        stages = [n for n, stage in enumerate(STAGES) if name.startswith(stage)]
        return (stages[-1] if path.stem == "claims" else stages[0]) if stages else len(STAGES)

    headers = [path for path in RUN.rglob("*.json") if ".shards" not in str(path) and path.parent != RUN]
    headers.remove(RUN / "models/tiny/tokenizer.json")
    for path in sorted(headers, key=place):
        header = read_json(path)
        header["outputs"] = {name: sha256(path.parent / name) for name in header["outputs"]}
        header["inputs"] = {name: sha256(name) for name in header["inputs"]}
        write_json(path, header)
    rebuild_manifest()


def rebuild_manifest() -> None:
    """List what lies there now."""
    last = [path for folder in ("tables", "figures") for path in (RUN / folder).glob("*.json")]
    write_json(MANIFEST, build_manifest(last, RUN, RUN / "config.json", RUN / "report.html"))


def rewrite(path: Path, **fields) -> None:
    """Change fields of a header."""
    write_json(path, read_json(path) | fields)


def flip(path: Path, draw: random.Random) -> bytes:
    """Change one byte of a file, anywhere, to any other; returns what the file held."""
    content = path.read_bytes()
    place = draw.randrange(len(content))
    path.write_bytes(content[:place] + bytes([content[place] ^ draw.randrange(1, 256)]) + content[place + 1 :])
    return content


def listed(manifest: str | Path) -> list[str]:
    """Every file that a manifest lists."""
    content = read_json(manifest)
    return [
        *content["files"],
        *(name for path, entry in content["artifacts"].items() for name in (path, *entry["files"])),
    ]
