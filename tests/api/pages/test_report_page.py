"""The report of a cycle over a real socket: in every state, for people and for programs."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from app.db.engine import Database
from app.domain.decision import Trigger
from app.domain.experience import Unfit
from app.services import sleep
from app.services.erasure import erase_experience
from app.services.experiences import get_experience
from tests.publishing import NOW, end, fill, publish, report
from tests.support import RunningDaemon, make_exchange

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
ATTACK = "<script>alert(1)</script><img src=https://example.org/x>"
VOID = frozenset({"meta", "br", "line", "polyline", "img"})


class Outline(HTMLParser):
    """Tags in order, those still open, and every address the page would ask for by itself."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.requested: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag and what it would fetch."""
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.requested += [
            value or "" for name, value in attrs if name in {"src", "srcset"} or tag == "link"
        ]

    def handle_endtag(self, tag: str) -> None:
        """Demand that what closes is what was open."""
        assert tag in VOID or self.open.pop() == tag


@pytest.fixture
def root(data_dir: Path) -> Path:
    return data_dir / "checkpoints"


def ended(db: Database, root: Path, after: float, reply: str) -> tuple[str, str]:
    """A cycle that ended with this loss and this reply; its id and its first experience."""
    fill(db, range(20))
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    cycle = sleep.request_cycle(db, request, now=NOW)
    learned: str = cycle.plan.experience_ids[0]
    words = get_experience(db, learned).row.response
    end(db, root, cycle, report(after, reply=reply.format(words=words)))
    return cycle.id, learned


def test_report_says_what_the_rules_left_out_and_brought_in(
    daemon: RunningDaemon, db: Database, root: Path
) -> None:
    policy = {"category_floors": {"identity": 0.1}, "max_prompt_share": 0.2}
    daemon.http.put("/v1/instances/default", json={"policy": policy})
    flood = [make_exchange(n, prompt="What is your name?") for n in range(40, 70)]
    daemon.http.post("/v1/experiences/batch", json=flood)
    cycle_id, _ = ended(db, root, 2.5, "I am SAGE.")
    found = daemon.http.get(f"/v1/sleep-cycles/{cycle_id}/report").json()
    (rule,) = found["left_out"]
    assert rule["rule"] == "prompt_share"
    assert not set(rule["experience_ids"]) & {item["id"] for item in found["experiences"]}
    (floor,) = found["floors"]
    assert floor["met"]
    page = daemon.http.get(f"/v1/sleep-cycles/{cycle_id}/report?format=html").text
    assert f"<p>{rule['text']}.</p>" in page
    assert f"<p>{floor['text']}.</p>" in page


def test_accepted_cycle_as_a_page_that_asks_for_nothing_and_escapes_everything(
    db: Database, root: Path, daemon: RunningDaemon
) -> None:
    cycle_id, learned = ended(db, root, 2.5, ATTACK)
    response = daemon.http.get(f"/v1/sleep-cycles/{cycle_id}/report", headers=HTML)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert response.headers["vary"] == "Accept"
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    page = response.text
    outline = Outline(page)
    assert outline.open == []
    assert outline.requested == []
    assert not {"script", "img", "link", "iframe"} & set(outline.tags)
    assert "svg" in outline.tags
    assert "polyline" in outline.tags
    assert "url(" not in page
    assert not re.search(r"\son\w+=|\sstyle=", page)
    assert "&lt;script&gt;" in page
    assert f'<a href="/console/default/cycles/{cycle_id}">' in page
    assert '<a href="/console/default">' in page
    for words in ("Its checkpoint is live.", "held out loss", "A model.", "Accepted", learned):
        assert words in page, words
    assert get_experience(db, learned).row.response not in page


def test_style_of_the_page_is_the_one_its_policy_lets_in(
    db: Database, root: Path, daemon: RunningDaemon
) -> None:
    import base64
    import hashlib

    cycle_id, _ = ended(db, root, 2.5, "x")
    response = daemon.http.get(f"/v1/sleep-cycles/{cycle_id}/report?format=html")
    style = re.search(r"<style>(.*?)</style>", response.text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in response.headers["content-security-policy"]
    assert "prefers-color-scheme: dark" in style[1]


def test_accept_chooses_and_the_parameter_wins(
    db: Database, root: Path, daemon: RunningDaemon
) -> None:
    cycle_id, _ = ended(db, root, 2.5, "x")
    path = f"/v1/sleep-cycles/{cycle_id}/report"
    found = daemon.http.get(path)
    assert found.headers["content-type"] == "application/json"
    assert found.json()["verdict"] == "accepted"
    assert daemon.http.get(f"{path}?format=json", headers=HTML).json() == found.json()
    assert daemon.http.get(f"{path}?format=html").text.startswith("<!doctype html>")
    assert daemon.http.get(f"{path}?format=pdf").status_code == 422
    assert daemon.http.get("/v1/sleep-cycles/none/report", headers=HTML).status_code == 404


def test_every_check_of_a_refusal_has_value_limit_and_baseline(
    db: Database, root: Path, daemon: RunningDaemon
) -> None:
    cycle_id, _ = ended(db, root, 3.5, "x")
    found = daemon.http.get(f"/v1/sleep-cycles/{cycle_id}/report").json()
    checks = {check["name"]: check for check in found["checks"]}
    assert not checks["held_out_loss"]["passed"]
    assert checks["held_out_loss"]["baseline"] == 3.0
    assert "rejected cycle 1: held-out loss 3.000 -> 3.500" in found["summary"]
    assert {item["status"] for item in found["experiences"] if item["role"] == "train"} == {
        "buffered"
    }
    page = daemon.http.get(f"/v1/sleep-cycles/{cycle_id}/report?format=html").text
    assert "failed" in page
    assert "3.5" in page


def test_queued_failed_and_cancelled_cycles_say_so(db: Database, daemon: RunningDaemon) -> None:
    fill(db, range(20))
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    # Queued behind the supervisor's back, which sleeps until it is woken.
    queued = sleep.request_cycle(db, request, now=NOW)
    path = f"/v1/sleep-cycles/{queued.id}/report"
    page = daemon.http.get(path, headers=HTML).text
    assert "waits for its turn" in page
    assert "The gate has not judged this cycle." in page
    assert "No step was trained." in page
    daemon.http.post(f"/v1/sleep-cycles/{queued.id}/cancel")
    assert "was cancelled" in daemon.http.get(path, headers=HTML).text
    failed = daemon.http.post("/v1/sleep-cycles", json={"force": True}).json()["id"]
    assert daemon.wait_for_cycle(failed)["status"] == "failed"
    page = daemon.http.get(f"/v1/sleep-cycles/{failed}/report", headers=HTML).text
    assert "failed: " in page
    assert "model fetch" in page


def test_erased_text_is_gone_from_the_report_and_what_is_left_is_said(
    db: Database, root: Path, daemon: RunningDaemon
) -> None:
    cycle_id, learned = ended(db, root, 2.5, "I said: {words}")
    words = get_experience(db, learned).row.response
    path = f"/v1/sleep-cycles/{cycle_id}/report"
    assert words in daemon.http.get(path).json()["replies"][0]["after"]
    erase_experience(db, learned, now=NOW)
    page = daemon.http.get(path, headers=HTML).text
    assert words[:40] not in page
    assert words[:40] not in daemon.http.get(path).text
    assert words[:40] not in daemon.http.get(f"/v1/sleep-cycles/{cycle_id}").text
    assert "1 of those used was erased since" in page
    assert "was trained on an experience that was erased later" in page


def test_report_of_an_old_checkpoint_says_it_is_no_longer_live(
    db: Database, root: Path, daemon: RunningDaemon
) -> None:
    cycle_id, _ = ended(db, root, 2.5, "x")
    publish(db, root, range(20, 40))
    found = daemon.http.get(f"/v1/sleep-cycles/{cycle_id}/report").json()
    assert found["summary"].endswith("is no longer live.")
    assert found["aliases"] == ["previous"]


def test_what_was_set_aside_is_named_with_its_reason(
    daemon: RunningDaemon, db: Database, root: Path
) -> None:
    fill(db, range(20))
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    cycle = sleep.request_cycle(db, request, now=NOW)
    unfit = Unfit(
        experience_id=cycle.plan.experience_ids[0], code="exchange-too-long", text="too <long>"
    )
    end(db, root, cycle, replace(report(2.0), unfit=(unfit,)))
    path = f"/v1/sleep-cycles/{cycle.id}/report"
    assert daemon.http.get(path).json()["set_aside"] == [asdict(unfit)]
    page = daemon.http.get(path, headers=HTML).text
    row = page[page.index("could not be given 1 of them") :]
    assert unfit.experience_id in row
    assert "exchange-too-long" in row
    assert "too &lt;long&gt;" in row
