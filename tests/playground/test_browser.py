"""The page in a browser: what it shows, what it asks of the network, and two users at once."""

import socket

import pytest
from browser import browser, requires_browser
from page_user import User
from played_run import PROMPT, request

from lape.playground.firing import leading
from lape.playground.repeating import command, python

pytest.importorskip("gradio", reason="the page needs gradio, of envs/requirements-dev.txt")
pytestmark = requires_browser
HOSTILE = "<img src=x onerror=alert()>"


@pytest.fixture(scope="module")
def strangers():
    """Addresses beyond this machine that this process asks for."""
    found, connect = [], socket.socket.connect

    def watched(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1"):
            found.append(address)
        return connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", watched)
        yield found


@pytest.fixture(scope="module")
def address(playground, strangers):
    """The page, served, with langdetect in lingua's place."""
    from lape.playground.page import launched
    from lape.text import identification

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(identification.IDENTIFIERS, "lingua", identification.by_langdetect)
        page, address = launched(playground)
        yield address
        page.close(verbose=False)


@pytest.fixture(scope="module")
def chromium():
    with browser() as launched:
        yield launched


@pytest.fixture
def user(chromium, address):
    """Opens the page as one more user."""
    users = []

    def user(**settings) -> User:
        users.append(User(chromium, address, **settings))
        return users[-1]

    yield user
    for each in users:
        each.context.close()
        assert each.faults == [] and all(url.startswith((address, "data:", "blob:")) for url in each.asked)


def test_a_language_is_switched_off(user, ask, playground, strangers):
    found, here = ask(off=["fr"]), user()
    here.choose("Off", "fr")
    here.page.get_by_role("button", name="Dose and prompt").click()
    here.start(PROMPT)
    assert here.answers() == (found.normal.text.replace("\r", "\n"), found.switched.text.replace("\r", "\n"))
    assert here.page.get_by_text(found.done).count() == 1
    assert here.page.locator("#switched-language").inner_text().startswith("Language: ")
    marked = here.page.locator(".fired")
    assert marked.count() == 2
    for place, side in enumerate((found.normal, found.switched)):
        leads = leading(side.reading.counts, list(found.sizes.values()))
        named = zip(leads, side.reading.counts, strict=True)
        labels = [f"{list(found.sizes)[lead]} {counts[lead]}" for lead, counts in named if lead is not None]
        assert marked.nth(place).locator(".label").all_inner_texts() == [label.upper() for label in labels]
    here.page.get_by_role("button", name="Repeat it").click()
    asked = request(off=["fr"])
    assert here.copied("python").strip() == python(playground.run, asked, playground.threads).strip()
    assert here.copied("command").strip() == command(playground.run, asked)
    assert strangers == []


def test_strength_0_changes_nothing(user, ask):
    here = user()
    here.choose("On", "ja")
    here.page.get_by_role("button", name="Dose and prompt").click()
    here.strength("0")
    here.start(PROMPT)
    normal, switched = here.answers()
    assert normal == switched == ask().normal.text.replace("\r", "\n")


def test_two_users_at_once_do_not_disturb_one_another(user, ask):
    first, second = user(), user()
    first.choose("Off", "fr")
    second.choose("On", "ja")
    first.start(PROMPT)
    second.start(PROMPT)
    for here, change in ((first, {"off": ["fr"]}), (second, {"on": "ja"})):
        found = ask(**change)
        assert here.answers() == (found.normal.text.replace("\r", "\n"), found.switched.text.replace("\r", "\n"))


def test_a_port_that_is_taken_is_told(printed, run_folder, address):
    status, out, messages = printed(run_folder, "--port", address.rstrip("/").rpartition(":")[2])
    assert status == 1 and out == "" and "no such port is free; name another" in messages


def test_what_cannot_be_asked_is_told(user):
    here = user()
    here.start(" ")
    here.page.get_by_text("the prompt is empty; write a question").wait_for()


def test_hostile_text_is_shown_and_not_run(user):
    here = user()
    here.start(HOSTILE)
    here.answers()
    for name in ("Number of neurons", "Repeat it"):
        here.page.get_by_role("button", name=name).click()
    assert "<img" in here.copied("command") and here.page.locator("img[src=x]").count() == 0


def test_the_page_fits_a_phone(user):
    here = user(viewport={"width": 390, "height": 800})
    here.start(PROMPT)
    here.answers()
    assert here.page.evaluate("document.documentElement.scrollWidth") <= 390
