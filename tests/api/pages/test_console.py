"""The console's files over HTTP: public, revalidated, and nothing beside them."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from tests.support import RunningDaemon

HTML = resources.files("app.web.console").joinpath("index.html").read_text()


@pytest.mark.daemon(require_tokens="true")
def test_page_and_its_files_are_public_and_all_there(daemon: RunningDaemon) -> None:
    http = daemon.http
    page = http.get("/")
    assert page.text == HTML
    found = re.findall(r'(?:href|src)="(/console/[^"]+)"', page.text)
    scripts = [path for path in found if path.endswith(".js")]
    for path in scripts:
        text = http.get(path).text
        found += [f"/console/{name}" for name in re.findall(r'from "\./([\w.-]+)"', text)]
    assert len(set(found)) > 4
    for path in found:
        assert http.get(path).status_code == 200, path


def test_policy_lets_in_nothing_inline_and_nothing_foreign(daemon: RunningDaemon) -> None:
    page = daemon.http.get("/")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page.text)
    assert page.headers["x-content-type-options"] == "nosniff"


def test_file_that_did_not_change_is_not_sent_again(daemon: RunningDaemon) -> None:
    http = daemon.http
    first = http.get("/console/console.css")
    assert (first.headers["cache-control"], first.headers["content-type"]) == (
        "no-cache",
        "text/css; charset=utf-8",
    )
    again = http.get("/console/console.css", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert http.get("/console/console.css", headers={"If-None-Match": '"x"'}).status_code == 200


@pytest.mark.daemon(require_tokens="true")
def test_browser_that_shows_anything_else_of_it_finds_its_icon(daemon: RunningDaemon) -> None:
    icon = daemon.http.get("/favicon.ico")
    assert (icon.status_code, icon.headers["content-type"]) == (200, "image/svg+xml")


def test_nothing_else_is_served(daemon: RunningDaemon) -> None:
    http = daemon.http
    for path in (
        "nothing.js",
        "../cycle_report.html",
        "..%2Fcycle_report.html",
        "vendor/README.md",
    ):
        answer = http.get(f"/console/{path}")
        assert answer.status_code == 404, path
        assert answer.headers["content-type"] == "application/problem+json"
