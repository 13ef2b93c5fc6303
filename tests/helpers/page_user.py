"""A user of the playground's page, in a browser."""

import re


class User:
    """A user in a browser of his own, who keeps what goes wrong and what is asked of the network."""

    def __init__(self, chromium, address: str, **settings):
        self.context = chromium.new_context(permissions=["clipboard-read", "clipboard-write"], **settings)
        self.page, self.asked, self.faults = self.context.new_page(), [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda line: self.faults.append(line.text) if line.type == "error" else None)
        self.page.on("dialog", lambda dialog: self.faults.append(dialog.message))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.goto(address)

    def choose(self, group: str, name: str) -> None:
        self.page.locator("fieldset", has_text=re.compile(f"^\\s*{group}\\b")).get_by_label(name, exact=True).check()

    def strength(self, number: str) -> None:
        """Set the strength of the dose, whose controls are open."""
        field = self.page.get_by_label("number input for Strength")
        field.fill(number)
        field.press("Enter")

    def start(self, prompt: str) -> None:
        self.page.get_by_role("textbox", name="Prompt").fill(prompt)
        self.page.get_by_role("button", name="Answer").click()

    def answers(self) -> tuple[str, str]:
        """Both answers, once they are whole."""
        self.page.get_by_text(re.compile("switched; |Nothing is switched")).wait_for(timeout=120_000)
        return tuple(self.page.locator(f"#{place} textarea").input_value() for place in ("as-it-is", "switched"))

    def copied(self, place: str) -> str:
        """What the copy button of a block of code copies."""
        self.page.locator(f"#{place}").get_by_role("button", name=re.compile("copy", re.I)).click()
        return self.page.evaluate("navigator.clipboard.readText()")
