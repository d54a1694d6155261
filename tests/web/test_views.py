"""The console's views: addresses that can be kept, the first screen's answers, two screens each."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from playwright.sync_api import expect

from app.clock import utc_now
from app.db.engine import Database
from app.domain.access import Scope
from app.domain.decision import Trigger
from app.domain.dreams import DreamKind
from app.domain.experience import CycleRole
from app.domain.recall import DreamCount, Recalled, RecallReport
from app.services import sleep
from tests import publishing
from tests.api.guards.test_access import grant
from tests.support import RunningDaemon
from tests.web.conftest import (
    CHECKPOINTS,
    CYCLES,
    EVENTS,
    EXCHANGES,
    HOME,
    SETTINGS,
    OpenConsole,
)
from tests.web.scenery import live, live_long, measured, take_in
from tests.web.views import FLEET, show, views

LONG_NAME = "a-machine-with-a-very-long-name-indeed-qwen2.5-14b-instruct-q8_0"
SCREENS = {1440: 2.0, 390: 2.3}
"""How many screens a view may be high, by the width: about two, and a phone's is small."""
MOST_REQUESTS = 10
"""For data, of a view that opens; the one page of all of them made eleven."""


@pytest.fixture
def lived(daemon: RunningDaemon, db: Database) -> RunningDaemon:
    """A daemon whose instance `default` has slept six times."""
    live(db, daemon.data_dir / "checkpoints")
    return daemon


def address_of(daemon: RunningDaemon, number: int) -> str:
    """The address of a cycle's view."""
    found = daemon.http.get("/v1/instances/default/cycle-figures").json()["data"]
    return next(f"{CYCLES}/{item['id']}" for item in found if item["number"] == number)


def test_each_view_with_a_long_history_is_about_two_screens_high(
    lived: RunningDaemon, open_console: OpenConsole, db: Database
) -> None:
    live_long(db, lived.data_dir / "checkpoints", 14)
    for width, most in SCREENS.items():
        page = open_console(lived, width=width)
        for path, landmark in views(lived).items():
            show(page, path, landmark)
            screens = page.evaluate("document.documentElement.scrollHeight / innerHeight")
            assert screens <= most, (path, width)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


@pytest.mark.parametrize("width", SCREENS)
def test_first_screen_answers_does_it_sleep_will_it_what_is_live_is_it_healthy(
    lived: RunningDaemon, open_console: OpenConsole, width: int
) -> None:
    page = open_console(lived, width=width)
    sleeps, will, is_live, healthy = (page.locator(".answer").nth(at) for at in range(4))
    expect(sleeps).to_contain_text("No, it is awake")
    expect(sleeps).to_contain_text("Cycle 6 failed")
    expect(will).to_contain_text("Not yet")
    expect(will).to_contain_text(re.compile(r"mass \d+\.\d of 20\.0"))
    expect(is_live).to_contain_text("Checkpoint of cycle 5")
    expect(is_live).to_contain_text("broken-model")
    expect(healthy).to_contain_text("The loss of step 12 is not a number.")
    for answer in (sleeps, will, is_live, healthy):
        box = answer.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 844


def test_views_are_reached_by_links_and_the_back_button_leads_through_them(
    lived: RunningDaemon, open_console: OpenConsole
) -> None:
    page = open_console(lived, path="/")
    page.get_by_role("link", name="default").click()
    expect(page).to_have_url(re.compile(f"{HOME}$"))
    parts = {
        "Cycles": CYCLES,
        "Checkpoints": CHECKPOINTS,
        "Exchanges": EXCHANGES,
        "Events": EVENTS,
        "Settings": SETTINGS,
    }
    for name, path in parts.items():
        page.locator("#tabs").get_by_role("link", name=name).click()
        expect(page).to_have_url(re.compile(f"{path}$"))
        expect(page).to_have_title(f"{name} · default · SAGE Sleep")
    for path in (EVENTS, EXCHANGES, CHECKPOINTS, CYCLES, HOME):
        page.go_back()
        expect(page).to_have_url(re.compile(f"{path}$"))
    expect(page.locator(".answer")).to_have_count(4)


def test_address_of_the_console_as_it_was_still_leads_to_the_instance(
    daemon: RunningDaemon, open_console: OpenConsole
) -> None:
    page = open_console(daemon, path="/?instance=default#events")
    expect(page).to_have_url(re.compile(f"{HOME}(#events)?$"))


def test_fleet_shows_each_instance_and_disk_and_health(
    lived: RunningDaemon, open_console: OpenConsole
) -> None:
    for number in range(60):
        lived.http.put(f"/v1/instances/m{number:03d}-qwen", json={}).raise_for_status()
    page = open_console(lived, path=FLEET)
    rows = page.locator("#list tbody tr")
    expect(page.locator("#tally")).to_have_text("61 instances")
    expect(rows).to_have_count(25)
    expect(rows.first).to_contain_text(re.compile("default.*awake.*cycle 5.*failed"))
    expect(page.locator("#state")).to_contain_text("ready")
    expect(page.locator("#state")).to_contain_text("base model: all well")
    expect(page.locator("#state")).to_contain_text(re.compile(r"free[\d.,]+ [MGT]B of"))
    expect(page.locator("#active")).to_contain_text("No instance sleeps.")
    page.get_by_role("link", name="More instances").click()
    expect(rows.first).to_contain_text("m024-qwen")
    expect(rows).to_have_count(25)
    page.get_by_label("Search by name").fill("M059")
    expect(rows).to_have_count(1)
    assert page.url.endswith("/console?q=M059")
    page.reload()
    expect(rows).to_have_count(1)
    rows.get_by_role("link").click()
    expect(page.locator(".answer").nth(2)).to_contain_text("The bare base model")
    page.go_back()
    expect(rows).to_have_count(1)


@pytest.mark.parametrize("width", [1440, 390])
def test_long_name_widens_no_view(
    daemon: RunningDaemon, open_console: OpenConsole, width: int
) -> None:
    daemon.http.put(f"/v1/instances/{LONG_NAME}", json={}).raise_for_status()
    page = open_console(daemon, width=width, path=FLEET)
    for path, landmark in views(None).items():
        show(page, path.replace("default", LONG_NAME), landmark)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


def test_instance_that_is_not_there_is_said_and_nothing_else_shown(
    daemon: RunningDaemon, open_console: OpenConsole
) -> None:
    page = open_console(daemon, path="/console/nobody/cycles")
    expect(page.get_by_role("alert")).to_contain_text("nobody")
    expect(page.locator(".panel").first).to_be_hidden()
    expect(page.get_by_role("link", name="Instances")).to_be_visible()
    page.goto(f"{CYCLES}/nothing")
    expect(page.get_by_role("alert")).to_have_text("There is no sleep cycle 'nothing'.")


def test_cycle_under_another_instances_address_leads_to_its_own(
    lived: RunningDaemon, open_console: OpenConsole
) -> None:
    lived.http.put("/v1/instances/other", json={}).raise_for_status()
    failed = address_of(lived, 6)
    page = open_console(lived, path=failed.replace("default", "other"))
    expect(page).to_have_url(re.compile(f"{failed}$"))
    expect(page.locator("#running")).to_contain_text("The loss of step 12 is not a number")
    expect(page.locator("#sides")).to_contain_text("It took no replies.")


def test_rejected_cycle_is_no_part_of_the_line_of_checkpoints(
    lived: RunningDaemon, open_console: OpenConsole
) -> None:
    page = open_console(lived, path=CHECKPOINTS)
    rows = page.locator(".line > li")
    third = rows.filter(has=page.get_by_text("Cycle 3", exact=True))
    expect(third.locator(".node.rejected")).to_have_count(1)
    expect(third.locator("line.aside")).to_have_count(1)
    expect(third).to_contain_text("rejected")
    fourth = rows.filter(has=page.get_by_text("Cycle 4", exact=True))
    expect(fourth.locator("line.aside")).to_have_count(0)
    expect(page.locator("main")).not_to_contain_text("refused")


def test_checkpoint_shows_its_whole_id_and_can_be_downloaded(
    daemon: RunningDaemon, open_console: OpenConsole, db: Database
) -> None:
    newest = live(db, daemon.data_dir / "checkpoints")[-1]
    page = open_console(daemon, path=CHECKPOINTS)
    expect(page.locator(".line > li").first.locator("code")).to_have_text(newest)
    with page.expect_download() as kept:
        page.get_by_role("link", name="Download the checkpoint of cycle 5").click()
    assert kept.value.suggested_filename == f"default-5-{newest}.tar"


def test_cycle_shows_the_gates_limits_with_errors_and_what_was_said(
    lived: RunningDaemon, open_console: OpenConsole
) -> None:
    page = open_console(lived, path=address_of(lived, 3))
    expect(page.get_by_role("heading", level=1)).to_have_text("Cycle 3 of default")
    expect(page.locator("#running")).to_contain_text("The gate rejected cycle 3")
    loss = page.locator("#checks tbody tr").filter(has_text=re.compile("^general loss"))
    expect(loss).to_contain_text(re.compile(r"failed\s*1\.49 ± 0\.01\s*1\.45"))
    expect(loss.locator(".scale.broken .error")).to_have_count(1)
    expect(page.locator("#checks .verdict")).to_have_text(re.compile(r"rejected: 7 of 20"))
    expect(page.locator("#compared")).to_contain_text("loss on general replies")
    expect(page.locator("#sides article")).to_have_count(3)


def test_cycle_that_dreamt_shows_what_is_remembered_and_what_faded(
    daemon: RunningDaemon, open_console: OpenConsole, db: Database
) -> None:
    now = utc_now()
    take_in(db, range(20), now=now)
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    cycle = sleep.request_cycle(db, request, now=now)
    fates = [(False, True), (True, True), (True, False), (False, False)] * 2
    told = zip(cycle.plan.experience_ids, fates, strict=False)
    recall = RecallReport(
        counts=(DreamCount(kind=DreamKind.QUOTE, trained=72),),
        statements=tuple(
            Recalled(experience_id=name, role=CycleRole.TRAIN, before=before, after=after)
            for name, (before, after) in told
        ),
        nats_before=3.1,
        nats_after=0.4,
        invented_base=0.0,
        invented_after=0.125,
    )
    report = replace(measured(3.4, 3.1, kl=0.01), recall=recall)
    publishing.end(db, daemon.data_dir / "checkpoints", cycle, report, now=now)
    page = open_console(daemon, path=f"{CYCLES}/{cycle.id}")
    memory = page.get_by_role("region", name="What it remembers now")
    expect(memory).to_contain_text("recalls 4 of 8 statements: 2 new, 2 kept, 2 faded.")
    expect(memory).to_contain_text(
        "nobody told, 13 % are answered as if somebody had (0 % by the base)"
    )
    rows = memory.get_by_role("listitem")
    expect(rows.first).to_contain_text("faded")
    prompt = daemon.http.get(f"/v1/experiences/{cycle.plan.experience_ids[2]}").json()["prompt"]
    expect(rows.first).to_contain_text(prompt)
    memory.get_by_text("2 more statements").click()
    expect(rows.last).to_contain_text("not recalled")
    whole = page.request.get(
        f"{daemon.http.base_url}/v1/sleep-cycles/{cycle.id}/report?format=html"
    ).text()
    assert "What it remembers" in whole
    assert prompt not in whole


def test_cycle_that_did_not_dream_says_nothing_of_memory(
    lived: RunningDaemon, open_console: OpenConsole
) -> None:
    page = open_console(lived, path=address_of(lived, 3))
    expect(page.locator("#sides article")).to_have_count(3)
    expect(page.locator("#memory")).to_be_hidden()


def test_plots_have_limits_and_errors_and_leave_rejected_cycles_out_of_the_line(
    lived: RunningDaemon, open_console: OpenConsole
) -> None:
    page = open_console(lived, path=CYCLES)
    general = page.locator("#plots figure").nth(1)
    expect(general).to_contain_text("limit 1.450")
    label = general.get_by_role("img")
    expect(label).to_have_attribute("aria-label", re.compile(r"after from 1\.412 to 1\.441;"))
    expect(label).to_have_attribute("aria-label", re.compile(r"after, rejected 1\.490"))
    box = general.locator(".u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10)
    expect(general).to_contain_text("after, rejected 1.490")
    expect(general).to_contain_text("cycle 3")
    page.mouse.move(box["x"] + box["width"] - 5, box["y"] + 10)
    expect(general).to_contain_text("after 1.441 ± 0.010")
    assert general.locator(".u-over").bounding_box() == box  # it does not move from under it


def test_curves_of_several_cycles_lie_over_each_other_and_stand_in_the_address(
    lived: RunningDaemon, open_console: OpenConsole
) -> None:
    page = open_console(lived, path=CYCLES)
    key = page.locator("#overlay .key li")
    expect(key).to_have_count(3)
    expect(key.first).to_contain_text("cycle 3 (rejected)")
    page.get_by_label("Show the loss curve of cycle 1").check()
    page.get_by_label("Show the loss curve of cycle 3").uncheck()
    expect(key).to_contain_text(["cycle 1", "cycle 4", "cycle 5"])
    page.reload()
    expect(key).to_contain_text(["cycle 1", "cycle 4", "cycle 5"])
    expect(page.get_by_label("Show the loss curve of cycle 6")).to_be_disabled()


def test_settings_show_base_model_policy_and_what_the_instance_sets_itself(
    daemon: RunningDaemon, open_console: OpenConsole
) -> None:
    wanted = {
        "base_model": "Qwen/Qwen2.5-0.5B-Instruct",
        "policy": {"mass_threshold": 12.5, "quiet_hours": "22:00-07:00"},
        "recipe": {"epochs": 3},
    }
    daemon.http.put("/v1/instances/default", json=wanted).raise_for_status()
    page = open_console(daemon, path=SETTINGS)
    expect(page.locator("#identity")).to_contain_text("Qwen/Qwen2.5-0.5B-Instruct")
    own = page.locator("#rules dl > div").filter(has_text="its own")
    expect(own).to_contain_text(["mass threshold", "quiet hours"])
    expect(own.first).to_contain_text("12.5")
    expect(own.first).to_have_attribute("title", re.compile("Salience that must wait"))
    expect(page.locator("#training dl > div").first).to_have_text("epochsits own3")


def test_events_are_told_apart_by_what_they_are_about_and_lead_to_their_cycle(
    lived: RunningDaemon, open_console: OpenConsole
) -> None:
    page = open_console(lived, path=EVENTS)
    page.get_by_label("About").select_option("checkpoint")
    expect(page).to_have_url(re.compile(r"\?subject=checkpoint$"))
    expect(page.locator("#feed li")).to_have_count(4)
    expect(page.locator("#feed li").first).to_contain_text("Promoted checkpoint")
    page.go_back()
    page.locator("#feed").get_by_role("link", name="Cycle 6").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Cycle 6 of default")


def test_views_ask_for_little_and_go_on_with_one_reading_every_few_seconds(
    lived: RunningDaemon, open_console: OpenConsole
) -> None:
    page = open_console(lived, path="/healthz")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for path, landmark in views(lived).items():
        asked.clear()
        show(page, path, landmark)
        data = [url for url in asked if re.search(r"/v1/|/stats|/readyz|openapi", url)]
        assert len(data) <= MOST_REQUESTS, (path, data)
    show(page, HOME, "#plots canvas")
    page.locator("#running p").first.wait_for()
    with page.expect_request("**/stats*"):
        asked.clear()
    assert [url for url in asked if "/stats" not in url] == []


@pytest.mark.daemon(require_tokens="true")
def test_token_bound_to_an_instance_sees_the_fleet_of_its_own(
    lived: RunningDaemon, open_console: OpenConsole, db: Database
) -> None:
    token = grant(db, Scope.READ, instances=["default"])["Authorization"].removeprefix("Bearer ")
    page = open_console(lived, path=FLEET)
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Token").fill(token)
    dialog.get_by_role("button", name="Look").click()
    expect(page.locator("#tally")).to_have_text("1 instance")
