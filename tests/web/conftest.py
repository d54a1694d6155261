"""A headless browser, pages that watch themselves, and pictures of them.

Pictures are written below `.console-pictures/`, which git ignores, for a person to look at.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.patience import seconds_left
from tests.support import RunningDaemon

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PICTURES = Path(__file__).parents[2] / ".console-pictures"
HOME = "/console/default"
CYCLES, CHECKPOINTS, EXCHANGES, CHAT, EVENTS, SETTINGS = (
    f"{HOME}/{part}"
    for part in ("cycles", "checkpoints", "exchanges", "chat", "events", "settings")
)
"""Views of the instance that every daemon begins with; the first is that at a glance."""
OpenConsole = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The machine's own Chromium; without one these tests fail, since nothing else tests this.

    Not for the whole session: while Playwright lives, its event loop runs in this thread, and
    `asyncio.run` fails in every other test.
    """
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.fail(
            "The console is tested in a browser and none is installed: "
            "as root, `apt-get update && apt-get install -y chromium`."
        )
    with sync_playwright() as playwright:
        is_root = os.geteuid() == 0
        browser = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox"] if is_root else []
        )
        yield browser
        browser.close()


@pytest.fixture
def open_console(browser: Browser) -> Iterator[OpenConsole]:
    """Open a view of a daemon's console: `open_console(daemon, dark=True, width=390, path=CYCLES)`.

    After the test every page must have asked nothing of another host, broken no policy and thrown
    no error.
    """
    contexts: list[BrowserContext] = []
    asked: list[str] = []
    errors: list[str] = []
    expect.set_options(timeout=seconds_left() * 1000)

    def open_(
        daemon: RunningDaemon, *, dark: bool = False, width: int = 1280, path: str = HOME
    ) -> Page:
        context = browser.new_context(
            base_url=str(daemon.http.base_url),
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            viewport={"width": width, "height": 900},
        )
        contexts.append(context)
        context.set_default_timeout(seconds_left() * 1000)
        context.on("request", lambda request: asked.append(request.url))
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda line: errors.append(line.text) if line.type == "error" else None,
        )
        page.goto(path)
        return page

    yield open_
    origins = {re.match(r"\w+://[^/]+", url) for url in asked if not url.startswith("blob:")}
    for context in contexts:
        context.close()
    names = {match[0] for match in origins if match}
    assert len(names) <= 1, names
    assert all(name.startswith("http://127.0.0.1:") for name in names), names
    # A browser logs each refusal and each lost connection, which some tests are about.
    expected = re.compile(r"status of 4(?:01|03|04|09|12|22)|net::ERR_CONNECTION|ERR_INCOMPLETE")
    assert [error for error in errors if not expected.search(error)] == []


def picture(page: Page, name: str) -> None:
    """Keep a picture of the whole page."""
    PICTURES.mkdir(exist_ok=True)
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)
