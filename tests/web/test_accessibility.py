"""What axe-core finds in the console; nothing serious, in the light and in the dark."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from app.db.engine import Database
from tests.support import RunningDaemon
from tests.web.conftest import OpenConsole
from tests.web.scenery import live

GRAVE = {"serious", "critical"}


def findings(page: Page) -> list[str]:
    """Grave violations, with the elements."""
    violations = Axe().run(page).response["violations"]
    return [
        f"{item['id']}: {node['html']} {node['failureSummary']}"
        for item in violations
        if item["impact"] in GRAVE
        for node in item["nodes"]
    ]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_grave_is_found(
    daemon: RunningDaemon,
    open_console: OpenConsole,
    db: Database,
    dark: bool,
    width: int,
) -> None:
    page = open_console(daemon, dark=dark, width=width)
    expect(page.locator("#feed")).to_contain_text("Nothing has happened yet")
    expect(page.locator("#link")).to_have_text("live")
    assert findings(page) == []
    live(db, daemon.data_dir / "checkpoints")
    page.reload()
    page.locator("#plots canvas").nth(3).wait_for()
    page.locator("#list summary").nth(1).click()
    assert findings(page) == []
    for name in (
        "Instance:",
        "Dry run",
        "Roll back",
        "Rebuild",
        "Promote the checkpoint of cycle 3",
        "Delete the checkpoint of cycle 3",
        "Erase",
    ):
        page.get_by_role("button", name=name).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert findings(page) == [], name
        page.keyboard.press("Escape")
