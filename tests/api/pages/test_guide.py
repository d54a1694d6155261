"""The guide over HTTP: every page of the repository, public, and nothing let through of HTML."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import resources

import pytest

from app.api.pages.guide import PAGES
from tests.support import RunningDaemon

FILES = resources.files("app.web") / "guide"


@pytest.mark.daemon(require_tokens="true")
def test_every_page_of_the_repository_is_served_to_anyone(daemon: RunningDaemon) -> None:
    http = daemon.http
    assert {f"{name}.md" for name in PAGES} == {
        file.name for file in FILES.iterdir() if file.name.endswith(".md")
    }
    index = http.get("/guide")
    policy = index.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert policy == http.get("/").headers["content-security-policy"]
    for name in PAGES:
        title = (FILES / f"{name}.md").read_text().partition("\n")[0].removeprefix("# ")
        assert f'<a href="/guide/{name}">{title}</a>' in index.text
        page = http.get(f"/guide/{name}")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert f">{title}</h1>" in page.text
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script", page.text)
    assert 'href="/guide"' in http.get("/console").text


def test_all_it_links_to_is_there(daemon: RunningDaemon) -> None:
    http = daemon.http
    for name in PAGES:
        page = http.get(f"/guide/{name}").text
        for target in set(re.findall(r'(?:href|src)="([^"]+)"', page)):
            if target.startswith("http"):
                continue
            path, _, anchor = target.partition("#")
            answer = http.get(path or f"/guide/{name}")
            assert answer.status_code == 200, (name, target)
            assert not anchor or f'id="{anchor}"' in answer.text, (name, target)


def test_page_that_did_not_change_is_not_sent_again(daemon: RunningDaemon) -> None:
    http = daemon.http
    etag = http.get("/guide/api").headers["etag"]
    assert http.get("/guide/api", headers={"If-None-Match": etag}).status_code == 304
    assert http.get("/guide/guide.css").headers["content-type"] == "text/css; charset=utf-8"
    for path in ("nothing", "api.md", "..%2Fguide.html"):
        assert http.get(f"/guide/{path}").status_code == 404, path


def test_daemon_that_nobody_asks_for_pages_does_not_import_what_lays_them_out() -> None:
    script = "import sys, app.main; print('markdown_it' in sys.modules)"
    command = [sys.executable, "-c", script]
    found = subprocess.run(command, capture_output=True, check=True, text=True)
    assert found.stdout == "False\n"
