"""The console's files over HTTP: public, revalidated, and nothing beside them."""

from __future__ import annotations

import re

import pytest

from app.api.pages.console import PARTS
from tests.support import RunningDaemon

PAGES = ("/", "/console", "/console/default", *(f"/console/default/{part}" for part in PARTS),
         "/console/default/cycles/01JZZZZZZZZZZZZZZZZZZZZZZZ")  # fmt: skip


@pytest.mark.daemon(require_tokens="true")
def test_pages_and_their_files_are_public_and_all_there(daemon: RunningDaemon) -> None:
    http = daemon.http
    known = set[str]()
    waiting = set(PAGES)
    while waiting:
        path = waiting.pop()
        known.add(path)
        answer = http.get(path)
        assert answer.status_code == 200, path
        found = re.findall(r'(?:href|src)="(/web/[^"]+)"', answer.text)
        found += [f"/web/{name}" for name in re.findall(r'from "\./([\w.-]+)"', answer.text)]
        waiting |= set(found) - known
    assert {f"/web/{part}.js" for part in (*PARTS, "fleet", "glance", "cycle")} <= known


def test_policy_lets_in_nothing_inline_and_nothing_foreign(daemon: RunningDaemon) -> None:
    for path in PAGES:
        page = daemon.http.get(path)
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'self'")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page.text)
        assert page.headers["x-content-type-options"] == "nosniff"


def test_address_with_the_instance_in_its_query_still_leads_to_it(daemon: RunningDaemon) -> None:
    answer = daemon.http.get("/?instance=sprout-qwen2.5-0.5b")
    assert (answer.status_code, answer.headers["location"]) == (302, "/console/sprout-qwen2.5-0.5b")
    odd = daemon.http.get("/", params={"instance": "//example.org/x"})
    assert odd.headers["location"] == "/console/%2F%2Fexample.org%2Fx"


def test_file_that_did_not_change_is_not_sent_again(daemon: RunningDaemon) -> None:
    http = daemon.http
    first = http.get("/web/console.css")
    assert (first.headers["cache-control"], first.headers["content-type"]) == (
        "no-cache",
        "text/css; charset=utf-8",
    )
    again = http.get("/web/console.css", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert http.get("/web/console.css", headers={"If-None-Match": '"x"'}).status_code == 200


@pytest.mark.daemon(require_tokens="true")
def test_browser_that_shows_anything_else_of_it_finds_its_icon(daemon: RunningDaemon) -> None:
    icon = daemon.http.get("/favicon.ico")
    assert (icon.status_code, icon.headers["content-type"]) == (200, "image/svg+xml")


def test_nothing_else_is_served(daemon: RunningDaemon) -> None:
    http = daemon.http
    for path in (
        "nothing.js",
        "frame.html",
        "../cycle_report.html",
        "..%2Fcycle_report.html",
        "vendor/README.md",
    ):
        answer = http.get(f"/web/{path}")
        assert answer.status_code == 404, path
        assert answer.headers["content-type"] == "application/problem+json"
    assert http.get("/console/default/nothing").status_code == 404
