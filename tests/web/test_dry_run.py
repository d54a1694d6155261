"""The console's dry run says what the rules of curation would do."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.support import RunningDaemon, make_exchange
from tests.web.conftest import OpenConsole
from tests.web.test_console import post_session


def test_dry_run_names_what_is_left_out_and_what_a_floor_came_to(
    daemon: RunningDaemon, open_console: OpenConsole
) -> None:
    post_session(daemon, range(12))
    flood = [make_exchange(n, prompt="What is your name?") for n in range(12, 36)]
    daemon.http.post("/v1/experiences/batch", json=flood).raise_for_status()
    policy = {"max_prompt_share": 0.1, "category_floors": {"identity": 0.1}}
    daemon.http.put("/v1/instances/default", json={"policy": policy}).raise_for_status()
    plan = daemon.http.post("/v1/sleep-cycles", json={"dry_run": True}).json()["plan"]
    (rule,) = plan["left_out"]
    page = open_console(daemon)
    page.get_by_role("button", name="Dry run").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(rule["text"])
    expect(dialog).to_contain_text(plan["floors"][0]["text"])
