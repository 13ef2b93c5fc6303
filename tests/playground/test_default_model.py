"""The page with the default run's model, where that run is there: French off, strength 0, two users at once."""

import pytest
from browser import browser, requires_browser
from page_user import User
from tiny_data import ROOT

pytest.importorskip("gradio", reason="the page needs gradio, of envs/requirements-dev.txt")
RUN = ROOT / "results" / "default"
pytestmark = [
    requires_browser,
    pytest.mark.skipif(not (RUN / "manifest.json").is_file(), reason="results/default is missing; `make run`"),
]


def test_french_off_changes_a_french_answer_and_strength_0_does_not(one_identifier):
    from lape.playground.answering import Playground
    from lape.playground.finished_run import FinishedRun
    from lape.playground.page import launched

    playground = Playground(FinishedRun.open(RUN))
    question = playground.run.first_questions()["fr"]
    served, address = launched(playground)
    with browser() as chromium:
        first, second = User(chromium, address), User(chromium, address)
        first.choose("Off", "fr")
        second.choose("On", "es")
        second.page.get_by_role("button", name="Dose and prompt").click()
        second.strength("0")
        first.start(question)
        second.start(question)
        normal, switched = first.answers()
        assert second.answers() == (normal, normal)
        languages = [first.page.locator(f"#{side}-language").inner_text() for side in ("as-it-is", "switched")]
        assert languages[0].startswith("Language: fr ") and languages[1].startswith("Language: en ")
        assert switched != normal and not first.faults + second.faults
    served.close(verbose=False)
