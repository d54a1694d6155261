"""The console says plainly that the base model is missing, and offers no sleep without it."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.support import RunningDaemon
from tests.web.conftest import OpenConsole


@pytest.mark.daemon(base_model="/nowhere/garden-model")
def test_missing_base_model_is_said_and_sleep_not_offered(
    daemon: RunningDaemon, open_console: OpenConsole
) -> None:
    page = open_console(daemon)
    expect(page.locator("#mass .absent")).to_contain_text("garden-model is not on this machine")
    expect(page.locator("#mass .absent")).to_contain_text("sage-sleep model fetch")
    expect(page.get_by_role("button", name="Sleep now")).to_be_disabled()
    expect(page.get_by_role("button", name="Dry run")).to_be_enabled()
