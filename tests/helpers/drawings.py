"""Figures as `lape figure` draws them."""

import json

import pandas as pd

from lape.artifacts.files import sha256
from lape.cli import main

SUFFIXES = (".pdf", ".svg", ".png")


def drawn_twice(folder, item: str, frame: pd.DataFrame) -> dict[str, bytes]:
    """What `lape figure` writes, by name, once it is seen to write the same bytes twice."""
    table = folder / "table.csv"
    frame.to_csv(table, index=False)
    output = folder / "figures" / f"{item}.pdf"
    found = []
    for _ in range(2):
        assert main(["figure", item, str(table), "--output", str(output)]) == 0
        found.append({path.name: path.read_bytes() for path in output.parent.iterdir()})
    assert found[0] == found[1]
    assert set(found[0]) == {f"{item}{suffix}" for suffix in (*SUFFIXES, ".json")}
    assert json.loads(found[0][f"{item}.json"])["inputs"] == {str(table): sha256(table)}
    return found[0]
