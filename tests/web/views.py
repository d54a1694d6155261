"""The console's views: their addresses, and what is seen when one has loaded."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.support import RunningDaemon
from tests.web.conftest import CHAT, CHECKPOINTS, CYCLES, EVENTS, EXCHANGES, HOME, SETTINGS

FLEET = "/console"


def views(daemon: RunningDaemon | None) -> dict[str, str]:
    """What to wait for, by address; with a daemon whose instance has lived, a cycle's view, too.

    Without one they are empty: nothing was ever said and no cycle ran.
    """
    if daemon is None:
        return {
            FLEET: "#list tbody tr",
            HOME: "#running .empty",
            CYCLES: "#history .empty",
            CHECKPOINTS: "#line li",
            EXCHANGES: "#spread .empty",
            CHAT: "#talks .empty",
            EVENTS: "#feed .empty",
            SETTINGS: "#training dd",
        }
    cycles = daemon.http.get("/v1/sleep-cycles").json()["data"]
    rejected = next(item for item in cycles if item["status"] == "rejected")
    return {
        FLEET: "#list tbody tr",
        HOME: "#plots canvas",
        CYCLES: "#overlay canvas",
        f"{CYCLES}/{rejected['id']}": "#running canvas",
        CHECKPOINTS: "#line li",
        EXCHANGES: "#spread figure",
        CHAT: "#talks .empty",
        EVENTS: "#feed li",
        SETTINGS: "#training dd",
    }


def show(page: Page, path: str, landmark: str) -> None:
    """Open a view and wait until it is there."""
    page.goto(path)
    page.locator(landmark).first.wait_for()
    state = "asking every few seconds" if path == FLEET else "live"
    expect(page.locator("#link")).to_have_text(state)
