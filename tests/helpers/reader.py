"""A reader of the explorer's page, in a real browser; see `browser`."""

from pathlib import Path


class Reader:
    """A page that is open in the browser, and what it said and fetched."""

    def __init__(self, context, path: Path):
        self.path, self.page = path, context.new_page()
        self.said: list[str] = []
        self.fetched: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.fetched.append(request.url))
        self.open()

    def open(self, fragment: str = "") -> None:
        self.page.goto("about:blank")
        self.page.goto(f"{self.path.as_uri()}{fragment}")
        self.page.wait_for_selector("body[data-ready]", state="attached")

    def neurons(self) -> list[list[str]]:
        """The cells of the table of neurons that are shown."""
        rows = self.page.locator("#neuron-table tbody tr").all()
        return [row.locator("td").all_inner_texts() for row in rows]

    def choose(self, label: str, value: str) -> None:
        self.page.locator("#filters").get_by_label(label).select_option(value)

    def check_quiet(self) -> None:
        """It wrote nothing to the console, and fetched nothing but itself and its own parts."""
        assert self.said == []
        own = (self.path.parent.as_uri(), "blob:", "data:", "about:")
        assert [address for address in self.fetched if not address.startswith(own)] == []
