"""Figures as `lape figure` draws them."""

import json

import pandas as pd
from matplotlib.text import Text

from lape.artifacts.files import sha256
from lape.cli import main
from lape.items.drawing.style import COLUMN
from lape.items.figures import draw

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


def assert_legible_in_a_column(item: str, frame: pd.DataFrame) -> None:
    """Drawn for a column, a figure is no wider, and no letter is smaller than 6 points."""
    figure = draw(item, frame, COLUMN)
    figure.draw_without_rendering()
    assert figure.get_tightbbox().width < COLUMN + 0.15
    assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text() and text.get_visible()) >= 6
