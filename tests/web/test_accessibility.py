"""What axe-core finds in the console; nothing serious, in the light and in the dark."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from app.db.engine import Database
from tests.support import RunningDaemon
from tests.web.conftest import CHECKPOINTS, EXCHANGES, HOME, OpenConsole
from tests.web.scenery import live
from tests.web.views import FLEET, show, views

GRAVE = {"serious", "critical"}
ASKING = {
    HOME: ("Instance:", "Dry run"),
    CHECKPOINTS: (
        "Roll back",
        "Rebuild",
        "Promote the checkpoint of cycle 3",
        "Delete the checkpoint of cycle 3",
    ),
    EXCHANGES: ("Erase",),
}
"""Buttons that ask before they do, by view."""


def findings(page: Page) -> list[str]:
    """Grave violations, with the elements."""
    violations = Axe().run(page).response["violations"]
    return [
        f"{item['id']}: {node['html']} {node['failureSummary']}"
        for item in violations
        if item["impact"] in GRAVE
        for node in item["nodes"]
    ]


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_nothing_grave_is_found(
    daemon: RunningDaemon, open_console: OpenConsole, db: Database, width: int, dark: bool
) -> None:
    page = open_console(daemon, dark=dark, width=width)
    for path, landmark in views(None).items():
        show(page, path, landmark)
        assert findings(page) == [], path
    live(db, daemon.data_dir / "checkpoints")
    for path, landmark in views(daemon).items():
        show(page, path, landmark)
        for summary in page.locator("main summary").all()[:3]:
            summary.click()
        assert findings(page) == [], path
        for name in ASKING.get(path, ()):
            page.get_by_role("button", name=name).first.click()
            expect(page.get_by_role("dialog")).to_be_visible()
            assert findings(page) == [], name
            page.keyboard.press("Escape")


def test_each_view_has_landmarks_one_first_heading_and_its_place_in_the_tabs(
    daemon: RunningDaemon, open_console: OpenConsole, db: Database
) -> None:
    live(db, daemon.data_dir / "checkpoints")
    page = open_console(daemon)
    titles = set[str]()
    for path, landmark in views(daemon).items():
        show(page, path, landmark)
        assert page.locator("h1").count() == 1, path
        assert page.locator("main").count() == 1, path
        titles.add(page.title())
        current = page.locator("#tabs [aria-current]")
        assert current.count() == (path != FLEET), path
        if path != FLEET:
            assert path.startswith(current.get_attribute("href") or "?"), path
    assert len(titles) == len(views(daemon))
