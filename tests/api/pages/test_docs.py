"""/docs over HTTP: the headers of the other pages, nothing inline, and ids that name one route."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from pathlib import Path

from app.main import create_app
from app.settings import Settings
from tests.support import RunningDaemon

PROTECTING = ("content-security-policy", "x-content-type-options", "referrer-policy")


def test_page_and_files_have_the_headers_of_the_other_pages(daemon: RunningDaemon) -> None:
    http = daemon.http
    page = http.get("/docs")
    console = http.get("/console")
    files = re.findall(r'(?:href|src)="(/(?:docs/files|web)/[\w.-]+)"', page.text)
    assert len(files) >= 5
    for answer in (page, *map(http.get, files)):
        assert answer.status_code == 200, answer.url
        for name in PROTECTING:
            assert answer.headers[name], (answer.url, name)
    assert "unsafe" not in page.headers["content-security-policy"]
    for name in PROTECTING[1:]:
        assert page.headers[name] == console.headers[name]
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|https?://", page.text)


def test_each_operation_has_an_id_of_its_own(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        document = create_app(Settings(data_dir=tmp_path)).openapi()
    found = Counter(
        operation["operationId"]
        for methods in document["paths"].values()
        for operation in methods.values()
    )
    assert [name for name, times in found.items() if times > 1] == []
    assert any(name.endswith("_head") for name in found)
