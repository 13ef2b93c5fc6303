"""The pictures of the explorer in docs/images/, of a finished run: `python tests/helpers/screenshots.py [RUN]`.

RUN is the folder of a run with contexts, results/default unless it is named. The card is that of the Chinese neuron
whose activation is the largest.
"""

import sys
from pathlib import Path

from browser import browser
from PIL import Image
from reader import Reader
from tiny_data import ROOT

IMAGES = ROOT / "docs" / "images"
SIZE = {"width": 1200, "height": 820}
LANGUAGE = "zh"


def picture(page, name: str) -> None:
    """Keep what is in the window, with few colours."""
    path = IMAGES / f"{name}.png"
    page.screenshot(path=path)
    Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} KB")


def main(run: Path) -> None:
    with browser() as launched:
        reader = Reader(launched.new_context(viewport=SIZE), (run / "index.html").resolve())
        page = reader.page
        picture(page, "explorer")
        reader.choose("language", LANGUAGE)
        page.locator("#neuron-table thead").get_by_text("strongest").click()
        page.locator("#neurons").evaluate("section => section.scrollIntoView({ behavior: 'instant' })")
        picture(page, "explorer_neurons")
        page.locator("#neuron-table tbody a").first.click()
        page.wait_for_selector("dialog .vega-embed svg.marks")
        picture(page, "explorer_card")


if __name__ == "__main__":
    main(Path(*sys.argv[1:2]) if sys.argv[1:] else ROOT / "results" / "default")
