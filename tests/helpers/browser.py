"""A browser for the tests of pages: Debian's chromium, driven by Playwright."""

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

CHROMIUM = shutil.which("chromium")
requires_browser = pytest.mark.skipif(
    CHROMIUM is None or importlib.util.find_spec("playwright") is None,
    reason="pages need chromium (apt-get install chromium) and playwright, of envs/requirements-dev.txt",
)


@contextmanager
def browser() -> Iterator:
    """A headless browser, of Playwright's synchronous interface."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield launched
        finally:
            launched.close()
