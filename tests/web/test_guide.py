"""The guide in a browser: nothing grave for axe-core, and no page wider than its window."""

from __future__ import annotations

import pytest

from app.api.pages.guide import PAGES
from tests.support import RunningDaemon
from tests.web.conftest import OpenConsole, picture
from tests.web.test_accessibility import findings


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_pages_can_be_read_by_anyone(
    daemon: RunningDaemon, open_console: OpenConsole, width: int, dark: bool
) -> None:
    page = open_console(daemon, path="/guide", width=width, dark=dark)
    assert findings(page) == []
    for name in PAGES:
        page.goto(f"/guide/{name}")
        assert findings(page) == [], name
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        if name == "operate":
            picture(page, f"guide-{width}")
