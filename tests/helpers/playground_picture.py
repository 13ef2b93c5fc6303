"""Take the picture of docs/playground.md: French off in the model of a finished default run.

python tests/helpers/playground_picture.py [results/default]
"""

import io
import sys

from browser import browser
from page_user import User
from PIL import Image
from tiny_data import ROOT

from lape.playground.answering import Playground
from lape.playground.finished_run import FinishedRun
from lape.playground.page import launched

PICTURE = ROOT / "docs" / "images" / "playground.png"


def take(folder: str) -> None:
    """Ask the run's first French question with French off, and save what the page shows."""
    playground = Playground(FinishedRun.open(folder))
    served, address = launched(playground)
    with browser() as chromium:
        user = User(chromium, address, viewport={"width": 1100, "height": 700}, color_scheme="light")
        user.choose("Off", "fr")
        user.start(playground.run.first_questions()["fr"])
        user.answers()
        picture = Image.open(io.BytesIO(user.page.screenshot(full_page=True)))
        picture.quantize(64).save(PICTURE, optimize=True)
    served.close(verbose=False)


if __name__ == "__main__":
    take(*sys.argv[1:] or [str(ROOT / "results" / "default")])
