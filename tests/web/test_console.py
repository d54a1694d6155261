"""The console in a real browser: what it shows and its buttons do; long, a test for each button."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, Request, Route, expect

from app.db.engine import Database
from app.domain.access import Scope
from tests.api.guards.test_access import grant
from tests.support import RunningDaemon, StartDaemon, make_exchange
from tests.web.conftest import CHECKPOINTS, CYCLES, EVENTS, EXCHANGES, OpenConsole, picture
from tests.web.scenery import HOSTILE, live

QUIET = {"scheduler_interval_seconds": 3600}


@pytest.fixture
def lived(daemon: RunningDaemon, db: Database) -> RunningDaemon:
    """A daemon whose instance `default` has slept six times."""
    live(db, daemon.data_dir / "checkpoints")
    return daemon


def post_session(daemon: RunningDaemon, numbers: range) -> None:
    exchanges = [make_exchange(number) for number in numbers]
    assert daemon.http.post("/v1/experiences/batch", json=exchanges).status_code == 200


def aliases(daemon: RunningDaemon) -> dict[str, Any]:
    found: dict[str, Any] = daemon.http.get("/v1/instances/default/aliases").json()
    return found


def wait_until_live(page: Page) -> None:
    expect(page.locator("#link")).to_have_text("live")


def checkpoint(page: Page, cycle: int) -> Any:
    return page.locator(".line > li").filter(has=page.get_by_text(f"Cycle {cycle}", exact=True))


def test_posted_session_fills_the_mass_while_it_is_watched(
    daemon: RunningDaemon, open_console: OpenConsole
) -> None:
    page = open_console(daemon)
    expect(page.locator("#mass")).to_contain_text("0.0 of 20.0")
    post_session(daemon, range(12))
    mass = daemon.http.get("/stats").json()["instances"][0]["mass"]
    expect(page.locator("#mass")).to_contain_text(f"{mass:.1f} of 20.0")
    expect(page.get_by_role("meter")).to_have_attribute("aria-valuetext", f"{mass:.1f} of 20.0")
    expect(page.locator("#mass .unmet").first).to_contain_text("mass")


def test_exchanges_come_in_while_they_are_watched(
    daemon: RunningDaemon, open_console: OpenConsole
) -> None:
    page = open_console(daemon, path=EXCHANGES)
    expect(page.locator("#list")).to_contain_text("No exchange yet")
    post_session(daemon, range(9))
    expect(page.locator("#list > ol > li")).to_have_count(9)
    expect(page.locator("#spread")).to_contain_text("The newest 9 exchanges")


def test_dry_run_shows_the_plan_and_starts_nothing(
    daemon: RunningDaemon, open_console: OpenConsole
) -> None:
    post_session(daemon, range(24))
    page = open_console(daemon)
    page.get_by_role("button", name="Dry run").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Nothing was started")
    expect(dialog.locator("ol li")).to_have_count(5)
    expect(dialog).to_contain_text("What did we learn about")
    picture(page, "dry-run")
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_have_count(0)
    assert daemon.http.get("/v1/sleep-cycles").json()["data"] == []


def test_sleep_is_watched_live_to_its_end_and_another_is_cancelled(
    start_daemon: StartDaemon, open_console: OpenConsole
) -> None:
    daemon = start_daemon(module="tests.web.dreaming_daemon", **QUIET)
    post_session(daemon, range(40))
    page = open_console(daemon)
    wait_until_live(page)
    page.get_by_role("button", name="Sleep now").click()
    running = page.locator("#running")
    expect(running.get_by_role("progressbar")).to_be_visible()
    expect(page.get_by_role("button", name="Sleep now")).to_be_disabled()
    expect(page.locator(".answer").first).to_contain_text("Yes: cycle 1")
    expect(running.locator("canvas")).to_be_visible()
    expect(running).to_contain_text(re.compile(r"step[1-9]\d* of 60loss\d\.\d{3}"))
    expect(running).to_contain_text(re.compile(r"tokens per second3\d\d"))
    expect(running.locator("[aria-current=step]")).to_have_text("train")
    picture(page, "running-1280")
    page.set_viewport_size({"width": 390, "height": 844})
    picture(page, "running-390")
    first = page.locator("main > :visible:not(h1)").evaluate_all(
        "nodes => nodes.toSorted((a, b) => a.offsetTop - b.offsetTop)[0].id"
    )
    assert first == "cycle"  # on a phone the running cycle comes first
    cycle = open_console(daemon, path=daemon_cycle(daemon))
    expect(cycle.locator("#running canvas")).to_be_visible()
    expect(running.locator(".chip")).to_have_text("succeeded")
    expect(running).to_contain_text("Its checkpoint is live.")
    expect(page.locator("#feed")).to_contain_text("Cycle 1 succeeded")
    expect(page.locator("#plots canvas")).to_have_count(1)
    expect(page.locator(".answer").nth(2)).to_contain_text("Checkpoint of cycle 1")
    expect(cycle.locator("#sides article")).to_have_count(3)
    expect(cycle.locator("#checks")).to_contain_text("Accepted", ignore_case=True)

    post_session(daemon, range(40, 80))
    page.get_by_role("button", name="Sleep now").click()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel the cycle").click()
    expect(running.locator(".chip")).to_have_text("cancelled")
    assert daemon.http.get("/v1/sleep-cycles").json()["data"][0]["status"] == "cancelled"


def daemon_cycle(daemon: RunningDaemon) -> str:
    """The address of the newest cycle's view."""
    return f"/console/default/cycles/{daemon.http.get('/v1/sleep-cycles').json()['data'][0]['id']}"


def test_promotion_and_rollback_ask_for_a_reason_and_keep_it(
    lived: RunningDaemon, open_console: OpenConsole
) -> None:
    page = open_console(lived, path=CHECKPOINTS)
    wait_until_live(page)
    expect(checkpoint(page, 5)).to_contain_text("current")
    page.get_by_role("button", name="Promote the checkpoint of cycle 2").click()
    dialog = page.get_by_role("dialog")
    picture(page, "promote")
    dialog.get_by_role("button", name="Promote").click()
    expect(dialog).to_be_visible()  # a reason is demanded
    dialog.get_by_label("Reason").fill("it spoke more plainly")
    dialog.get_by_role("button", name="Promote").click()
    expect(dialog).to_have_count(0)
    expect(checkpoint(page, 2)).to_contain_text("current")
    expect(checkpoint(page, 5)).to_contain_text("previous")
    page.get_by_role("button", name="Roll back").click()
    dialog.get_by_label("Reason").fill("no, it did not")
    dialog.get_by_role("button", name="Roll back").click()
    expect(checkpoint(page, 5)).to_contain_text("current")
    moves = lived.http.get("/v1/instances/default/aliases/history").json()["data"]
    kept = [(move["reason"], move["actor"]) for move in moves if move["alias"] == "current"]
    assert kept[:2] == [("no, it did not", "console"), ("it spoke more plainly", "console")]


def test_reasons_stand_in_the_feed(lived: RunningDaemon, open_console: OpenConsole) -> None:
    page = open_console(lived, path=EVENTS)
    wait_until_live(page)
    asked = {"reason": "<b>plainer</b> words", "actor": "dennis"}
    lived.http.post("/v1/instances/default/rollback", json=asked)
    newest = page.locator("#feed li").first
    expect(newest).to_contain_text(re.compile(r"Rolled back to checkpoint \w{6} by dennis"))
    expect(newest).to_contain_text(asked["reason"])
    page.reload()
    expect(newest).to_contain_text(asked["reason"])


def test_rebuild_asks_for_a_reason_and_queues_a_cycle_from_the_base(
    lived: RunningDaemon, open_console: OpenConsole
) -> None:
    page = open_console(lived, path=CHECKPOINTS)
    wait_until_live(page)
    page.get_by_role("button", name="Rebuild").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("default has consolidated")
    picture(page, "rebuild")
    dialog.get_by_role("button", name="Leave it").click()
    expect(dialog).to_have_count(0)
    cycles = lived.http.get("/v1/sleep-cycles").json()["data"]
    page.get_by_role("button", name="Rebuild").click()
    dialog.get_by_label("Reason").fill("something was erased")
    dialog.get_by_role("button", name="Rebuild").click()
    expect(dialog).to_have_count(0)
    page.get_by_role("link", name="Events").click()
    expect(page.locator("#feed")).to_contain_text(
        "Cycle 7 rebuilds from the base by console: something was erased"
    )
    (cycle, *before) = lived.http.get("/v1/sleep-cycles").json()["data"]
    assert before == cycles
    assert (cycle["trigger"], cycle["plan"]["parent_checkpoint_id"]) == ("rebuild", None)


def test_pinned_checkpoint_cannot_be_deleted_until_it_is_unpinned(
    lived: RunningDaemon, open_console: OpenConsole
) -> None:
    def kept(cycle: int) -> dict[str, Any]:
        found = lived.http.get("/v1/checkpoints").json()["data"]
        return next(item for item in found if item["cycle_number"] == cycle)

    page = open_console(lived, path=CHECKPOINTS)
    wait_until_live(page)
    second, keys = checkpoint(page, 2), page.keyboard
    tab_to(page, f"[data-key=pin-{kept(2)['id']}]")
    keys.press("Enter")
    expect(second).to_contain_text("pinned")
    assert kept(2)["pinned"]
    expect(second.get_by_role("button", name="Delete")).to_have_count(0)
    expect(second.get_by_role("button", name="Unpin")).to_be_focused()
    picture(page, "pinned-1280")
    keys.press("Enter")
    expect(second.get_by_role("button", name="Delete")).to_have_count(1)
    assert not kept(2)["pinned"]
    for cycle in (4, 5):  # previous and current
        expect(checkpoint(page, cycle).get_by_role("button", name="Delete")).to_have_count(0)
    tab_to(page, f"[data-key=delete-{kept(2)['id']}]")
    keys.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Its files go for good")
    picture(page, "delete")
    keys.press("Escape")
    assert kept(2)["status"] == "ready"
    second.get_by_role("button", name="Delete").click()
    dialog.get_by_role("button", name="Delete its files").click()
    expect(dialog).to_have_count(0)
    expect(second).to_contain_text("deleted")
    expect(second.get_by_role("button")).to_have_count(0)
    assert kept(2)["status"] == "deleted"


def test_checkpoint_that_came_into_use_meanwhile_is_not_deleted(
    lived: RunningDaemon, open_console: OpenConsole
) -> None:
    page = open_console(lived, path=CHECKPOINTS)
    page.get_by_role("button", name="Delete the checkpoint of cycle 1").click()
    first = lived.http.get("/v1/checkpoints").json()["data"][-1]["id"]
    lived.http.patch(f"/v1/checkpoints/{first}", json={"pinned": True})
    page.get_by_role("button", name="Delete its files").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("unpin it first")
    assert lived.http.get(f"/v1/checkpoints/{first}").json()["status"] == "ready"


def test_rejected_checkpoint_is_promoted_only_by_force(
    lived: RunningDaemon, open_console: OpenConsole
) -> None:
    page = open_console(lived, path=CHECKPOINTS)
    page.get_by_role("button", name="Promote the checkpoint of cycle 3").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("The gate did not accept it")
    dialog.get_by_label("Reason").fill("to look at it")
    dialog.get_by_role("button", name="Promote").click()
    expect(dialog).to_be_visible()
    dialog.get_by_label("Promote it all the same").check()
    dialog.get_by_role("button", name="Promote").click()
    expect(checkpoint(page, 3)).to_contain_text("current")


def test_move_of_somebody_else_in_between_is_not_overwritten(
    lived: RunningDaemon, open_console: OpenConsole
) -> None:
    page = open_console(lived, path=CHECKPOINTS)
    page.get_by_role("button", name="Roll back").click()
    lived.http.post("/v1/instances/default/rollback", json={"reason": "I was first"})
    before = aliases(lived)
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("me too")
    dialog.get_by_role("button", name="Roll back").click()
    expect(dialog.get_by_role("alert")).not_to_be_empty()
    assert aliases(lived) == before


def test_filter_and_search_find_exchanges_and_one_is_erased(
    lived: RunningDaemon, open_console: OpenConsole
) -> None:
    page = open_console(lived, path=EXCHANGES)
    rows = page.locator("#list > ol > li")
    expect(rows).to_have_count(10)
    first = rows.first.inner_text()
    page.get_by_role("link", name="Older").click()
    expect(page.get_by_role("link", name="Newest")).to_be_visible()
    expect(rows.first).not_to_have_text(first)
    page.go_back()
    expect(rows.first).to_contain_text("<img src")
    page.get_by_label("Search").fill("number222")
    page.get_by_label("Search").press("Enter")
    expect(rows).to_have_count(1)
    assert page.url.endswith("exchanges?q=number222")
    page.get_by_role("button", name="Clear").click()
    expect(rows).to_have_count(10)
    page.get_by_label("Status").select_option("filtered")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("error_text: the reply is an error message")
    page.get_by_label("Salience at least").fill("0.99")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator("#list")).to_contain_text("No exchange is like that")
    page.reload()
    expect(page.get_by_label("Status")).to_have_value("filtered")
    page.get_by_role("button", name="Clear").click()
    expect(rows).to_have_count(10)
    page.get_by_label("Search").fill("Good morning, SAGE")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(rows).to_have_count(1)
    page.locator("#list summary").click()
    expect(rows).to_contain_text("Cycle 1: train, succeeded.")
    page.get_by_role("button", name="Erase").click()
    page.get_by_role("dialog").get_by_role("button", name="Erase").click()
    expect(page.locator("#toast")).to_contain_text("learned from it")
    expect(page.locator("#list")).to_contain_text("No exchange is like that")
    page.get_by_role("link", name="Checkpoints").click()
    expect(checkpoint(page, 5)).to_contain_text("holds something erased")
    page.get_by_role("link", name="Events").click()
    expect(page.locator("#feed")).to_contain_text("An exchange was erased")


def test_text_of_an_exchange_is_never_markup(
    lived: RunningDaemon, open_console: OpenConsole
) -> None:
    page = open_console(lived, path=EXCHANGES)
    expect(page.locator("#list")).to_contain_text(HOSTILE)
    page.locator("#list summary").filter(has_text="<img").click()
    assert page.locator("main img, main b:text-is('bold')").count() == 0
    assert page.title() == "Exchanges · default · SAGE Sleep"
    fifth = lived.http.get("/v1/sleep-cycles").json()["data"][1]["id"]
    page.goto(f"/console/default/cycles/{fifth}")
    expect(page.locator("#sides")).to_contain_text(HOSTILE)
    assert page.locator("main img, main b:text-is('bold')").count() == 0


@pytest.mark.daemon(require_tokens="true")
def test_token_is_asked_for_and_kept_for_this_tab_alone(
    daemon: RunningDaemon, open_console: OpenConsole, db: Database
) -> None:
    live(db, daemon.data_dir / "checkpoints")
    token = grant(db, Scope.READ)["Authorization"].removeprefix("Bearer ")
    page = open_console(daemon, path=CHECKPOINTS)
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Token").fill("sage_x_y")
    picture(page, "token")
    dialog.get_by_role("button", name="Look").click()
    expect(dialog).to_contain_text("token")
    dialog.get_by_label("Token").fill(token)
    dialog.get_by_role("button", name="Look").click()
    wait_until_live(page)
    expect(checkpoint(page, 5)).to_contain_text("current")
    assert page.evaluate("localStorage.length") == 0
    assert page.context.cookies() == []
    with page.expect_download() as kept:
        page.get_by_role("link", name="Download the checkpoint of cycle 5").click()
    assert kept.value.suggested_filename.startswith("default-5-")
    page.get_by_role("link", name="At a glance").click()
    page.get_by_role("button", name="Sleep now").click()
    expect(page.locator("#toast")).to_contain_text("operate")
    page.get_by_role("link", name="Cycles", exact=True).click()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Report of cycle 5").click()
    report = opened.value
    expect(report.get_by_role("heading", level=1)).to_contain_text("5")
    assert report.evaluate("getComputedStyle(document.body).maxWidth") == "896px"
    report.get_by_role("link", name="Cycle 5 in the console").click()
    expect(report.get_by_role("heading", level=1)).to_have_text("Cycle 5 of default")
    other = page.context.new_page()
    other.goto("/console/default")
    expect(other.get_by_role("dialog").get_by_label("Token")).to_be_visible()
    page.get_by_role("button", name="Forget token").click()
    expect(page.get_by_role("dialog").get_by_label("Token")).to_be_visible()


def test_report_opens_from_its_link_and_leads_back(
    lived: RunningDaemon, open_console: OpenConsole
) -> None:
    page = open_console(lived, path=CYCLES)
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Report of cycle 3").click()
    report = opened.value
    expect(report.locator("body")).to_contain_text("The gate rejected cycle 3")
    report.get_by_role("link", name="default", exact=True).click()
    expect(report.locator(".answer").nth(2)).to_contain_text("Checkpoint of cycle 5")


def test_every_instance_can_be_found_and_chosen(
    daemon: RunningDaemon, open_console: OpenConsole
) -> None:
    for number in range(130):
        daemon.http.put(f"/v1/instances/m{number:03d}-qwen", json={})
    page = open_console(daemon, path=EXCHANGES)
    page.get_by_role("button", name="Instance:").click()
    choices = page.locator(".choices li")
    expect(choices).to_have_count(30)
    more = page.get_by_role("button", name="More instances")
    for shown in (60, 90, 120, 131):
        more.click()
        expect(choices).to_have_count(shown)
    expect(more).to_have_count(0)
    page.get_by_role("dialog").get_by_label("Search").fill("M129")
    expect(choices).to_have_count(1)
    choices.get_by_role("button").click()
    expect(page).to_have_url(re.compile("/console/m129-qwen/exchanges$"))
    expect(page.locator("#chosen")).to_have_text("m129-qwen")
    post = make_exchange(1, instance="m129-qwen")
    daemon.http.post("/v1/experiences", json=post)
    expect(page.locator("#list > ol > li")).to_have_count(1)


def test_where_no_stream_gets_through_it_asks_instead(
    lived: RunningDaemon, open_console: OpenConsole
) -> None:
    def hold_streams(route: Route, request: Request) -> None:
        if request.headers.get("accept") != "text/event-stream":
            route.continue_()

    page = open_console(lived, path="/healthz")
    page.route("**/events*", hold_streams)
    page.goto(CHECKPOINTS)
    expect(page.locator("#link")).to_have_text("asking every few seconds")
    lived.http.post("/v1/instances/default/rollback", json={"reason": "seen all the same"})
    expect(checkpoint(page, 4)).to_contain_text("current")


def test_daemon_that_goes_and_comes_back_is_noticed(
    lived: RunningDaemon, start_daemon: StartDaemon, open_console: OpenConsole
) -> None:
    page = open_console(lived)
    wait_until_live(page)
    lived.stop()
    expect(page.locator("#link")).to_have_text("the daemon does not answer")
    expect(page.get_by_role("alert")).to_contain_text("as it was")
    again = start_daemon(port=httpx.URL(lived.http.base_url).port, **QUIET)
    wait_until_live(page)
    expect(page.get_by_role("alert")).to_have_count(0)
    post_session(again, range(3))
    expect(page.locator("#feed li").first).to_be_visible()


def tab_to(page: Page, selector: str, *, back: bool = False) -> None:
    """Press Tab until the focus, which must be seen, stands there."""
    for _ in range(120):
        page.keyboard.press("Shift+Tab" if back else "Tab")
        if page.evaluate(f"document.activeElement.matches({selector!r})"):
            style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert style == "solid", selector
            return
    raise AssertionError(f"no key leads to {selector}")


def test_choosing_sleeping_and_promoting_by_keyboard_alone(
    lived: RunningDaemon, open_console: OpenConsole
) -> None:
    lived.http.put("/v1/instances/other", json={})
    page = open_console(lived, path="/console/other")
    wait_until_live(page)
    keys = page.keyboard
    tab_to(page, ".skip")
    tab_to(page, "#choose")
    keys.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    keys.type("default")
    expect(page.locator(".choices li")).to_have_count(1)
    tab_to(page, ".choices button")
    keys.press("Enter")
    page.wait_for_url("**/console/default")
    wait_until_live(page)
    tab_to(page, "[data-key=dry]")
    keys.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("Nothing was started")
    keys.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    tab_to(page, "[href$=checkpoints]", back=True)
    keys.press("Enter")
    page.wait_for_url(f"**{CHECKPOINTS}")
    wait_until_live(page)
    fourth = lived.http.get("/v1/checkpoints").json()["data"][1]["id"]
    tab_to(page, f"[data-key=promote-{fourth}]")
    keys.press("Enter")
    keys.type("typed")
    keys.press("Enter")
    expect(checkpoint(page, 4)).to_contain_text("current")
    tab_to(page, "[data-key=rollback]", back=True)
    keys.press("Enter")
    keys.type("typed back")
    keys.press("Enter")
    expect(checkpoint(page, 5)).to_contain_text("current")
    page.go_back()
    wait_until_live(page)
    tab_to(page, "[data-key=sleep]")
    keys.press("Enter")
    expect(page.locator("#toast")).to_contain_text("Cycle 7 is queued")
    assert lived.http.get("/v1/sleep-cycles?limit=1").json()["data"][0]["number"] == 7


def test_searching_and_erasing_by_keyboard_alone(
    lived: RunningDaemon, open_console: OpenConsole
) -> None:
    page = open_console(lived, path=EXCHANGES)
    wait_until_live(page)
    keys = page.keyboard
    tab_to(page, "#filter [name=q]")
    keys.type("number222")
    keys.press("Enter")
    expect(page.locator("#list > ol > li")).to_have_count(1)
    tab_to(page, "summary")
    keys.press("Enter")
    tab_to(page, "[data-key^=erase-]")
    keys.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    tab_to(page, ".dialog .danger")
    keys.press("Enter")
    expect(page.locator("#toast")).to_contain_text("Erased.")
