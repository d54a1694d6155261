"""Reports, guide and interactive documentation in a browser: whole words, dark where asked."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from app.db.engine import Database
from tests.support import RunningDaemon
from tests.web.conftest import OpenConsole, picture
from tests.web.scenery import live
from tests.web.test_accessibility import findings

BROKEN_WORDS = """
nodes => nodes.flatMap(node => {
  const found = [];
  const walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode;
    if (text.parentElement.closest("code")) continue;
    for (const match of text.data.matchAll(/[A-Za-z]{3,24}/g)) {
      const range = document.createRange();
      range.setStart(text, match.index);
      range.setEnd(text, match.index + match[0].length);
      const tops = new Set([...range.getClientRects()].map(box => Math.round(box.top)));
      if (tops.size > 1) found.push(match[0]);
    }
  }
  return found;
})
"""


def broken_words(page: Page) -> list[str]:
    """Words of table cells that do not stand on one line."""
    found: list[str] = page.locator("td, th").evaluate_all(BROKEN_WORDS)
    return found


@pytest.mark.parametrize(("width", "dark"), [(1440, True), (390, False)])
def test_tables_of_reports_and_guide_break_no_word(
    daemon: RunningDaemon, open_console: OpenConsole, db: Database, width: int, dark: bool
) -> None:
    live(db, daemon.data_dir / "checkpoints")
    cycles = daemon.http.get("/v1/sleep-cycles").json()["data"]
    rejected = next(item for item in cycles if item["status"] == "rejected")
    page = open_console(
        daemon, width=width, dark=dark, path=f"/v1/sleep-cycles/{rejected['id']}/report?format=html"
    )
    assert broken_words(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    hidden = page.locator(".wide").evaluate_all(
        "nodes => nodes.filter(node => node.scrollWidth > node.clientWidth).length"
    )
    assert hidden == 0  # no column stands outside of the page
    assert findings(page) == []
    picture(page, f"report-{width}")
    for name in ("operate", "recipe", "glossary", "api"):
        page.goto(f"/guide/{name}")
        assert broken_words(page) == [], name


def test_long_page_of_the_guide_leads_to_its_sections(
    daemon: RunningDaemon, open_console: OpenConsole
) -> None:
    page = open_console(daemon, path="/guide/operate")
    contents = page.get_by_role("navigation", name="On this page")
    assert contents.get_by_role("link").count() == page.locator("main h2").count()
    contents.get_by_role("link", name="When something is wrong").click()
    expect(page.get_by_role("heading", name="When something is wrong")).to_be_in_viewport()
    page.goto("/guide/benchmarks")
    expect(page.get_by_role("navigation", name="On this page")).to_have_count(0)


@pytest.mark.parametrize("dark", [False, True])
def test_interactive_documentation_works_under_its_policy_and_follows_the_scheme(
    daemon: RunningDaemon, open_console: OpenConsole, dark: bool
) -> None:
    page = open_console(daemon, path="/docs", dark=dark)
    route = page.locator(".opblock-summary").filter(has_text="/v1/sleep-cycles/{cycle_id}/cancel")
    route.click()
    expect(page.get_by_role("button", name="Try it out")).to_be_visible()
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (
        sum(map(int, back[4:-1].split(","))) < 200 if back.startswith("rgb(") else False
    ) is dark
    picture(page, f"docs-{'dark' if dark else 'light'}")
