"""What never leaves: texts and tokens into the log, files that are no checkpoint's."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from app.clock import utc_now
from app.db.engine import Database
from app.domain.access import Scope, read_token
from app.services.tokens import create_token
from tests.patience import seconds_left
from tests.publishing import publish
from tests.support import RunningDaemon, StartDaemon, make_exchange

SENTENCE = "the heron waits beside the violet weir"


@pytest.mark.parametrize("log_format", ["json", "pretty"])
def test_log_holds_neither_conversation_nor_token(
    start_daemon: StartDaemon, db: Database, log_format: str
) -> None:
    made = create_token(
        db, name="t", scopes=set(Scope), instances=None, expires_at=None,
        requests_per_minute=None, max_body_bytes=None, now=utc_now(),
    )  # fmt: skip
    daemon = start_daemon(log_level="debug", log_format=log_format, require_tokens="true")
    sent = daemon.http
    wrong = f"{made.text[:-1]}!"
    for headers in ({}, {"Authorization": f"Bearer {wrong}"}, {"Authorization": made.text}):
        assert sent.get("/stats", headers=headers).status_code == 401
    sent.headers["Authorization"] = f"Bearer {made.text}"
    exchange = make_exchange(1, prompt=f"{SENTENCE}?", response=f"We noticed {SENTENCE}.")
    statuses = [
        sent.post("/v1/experiences", json=exchange).status_code,
        sent.post("/v1/experiences", json=exchange | {"session_number": SENTENCE}).status_code,
        sent.post("/v1/experiences", json=exchange | {SENTENCE: 1}).status_code,
        sent.post("/v1/experiences/batch", json=[exchange, {"prompt": SENTENCE}]).status_code,
        sent.post("/v1/experiences", json=exchange | {"instance": SENTENCE}).status_code,
    ]
    broken = [
        json.dumps(exchange)[:-1].encode(),
        b'{"prompt": "' + SENTENCE.encode() + b'\xff"}',
        b"[" * 100_000 + SENTENCE.encode(),
    ]
    for body in broken:
        answer = sent.post(
            "/v1/experiences", content=body, headers={"Content-Type": "application/json"}
        )
        statuses.append(answer.status_code)
    statuses += [
        sent.get("/v1/experiences", params={"q": SENTENCE}).status_code,
        sent.get(f"/v1/experiences/{quote(SENTENCE)}").status_code,
        sent.get("/stats", headers={"Host": SENTENCE.replace(" ", ".")}).status_code,
    ]
    with db.write() as session:
        # So that the daemon itself fails, the first time with an error that quotes the text.
        session.execute(sa.text("UPDATE experiences SET occurred_at = substr(prompt, 1, 32)"))
        session.execute(sa.text("DROP TABLE seen_words"))
    failing = make_exchange(2, prompt=f"Again {SENTENCE}?", response=f"We felt it: {SENTENCE}.")
    statuses.append(sent.get("/v1/experiences").status_code)
    statuses.append(sent.post("/v1/experiences", json=failing).status_code)
    statuses.append(sent.post("/v1/experiences/batch", json=[failing]).status_code)
    assert statuses == [201, 422, 422, 200, 422, 400, 400, 400, 200, 404, 421, 500, 503, 503]
    daemon.stop()
    assert "daemon.stopped" in daemon.log
    assert "ValueError" in daemon.log
    read = read_token(made.text)
    assert read is not None
    secret = read[1]  # An underscore may stand in it.
    for said in (*SENTENCE.split()[1:3], secret, secret[:20]):
        assert said not in daemon.log


OUTSIDE = [
    "../../../sage-sleep.db", "..%2f..%2f..%2fsage-sleep.db", "%2e%2e%2f%2e%2e%2fsage-sleep.db",
    "..%5c..%5csage-sleep.db", "%252e%252e%252fsage-sleep.db", "/etc/passwd", "%2fetc%2fpasswd",
    "manifest.json%00", "manifest.json%00.png", "%00", "..", ".", "%2e", "....//sage-sleep.db",
    "adapter_config.json%2f..%2fmanifest.json", "MANIFEST.JSON", "manifest.json%20", "~", "*",
]  # fmt: skip


def test_no_path_of_a_client_reaches_the_file_system(
    daemon: RunningDaemon,
    db: Database,
    data_dir: Path,
    request: pytest.FixtureRequest,
) -> None:
    checkpoint_id, _ = publish(db, data_dir / "checkpoints", range(40))
    port = daemon.http.base_url.port
    # http.client sends a path as it is; httpx would resolve the dots.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds_left())
    request.addfinalizer(connection.close)

    def ask(method: str, address: str) -> tuple[int, bytes]:
        connection.request(method, address)
        answer = connection.getresponse()
        return answer.status, answer.read()

    files = f"/v1/checkpoints/{checkpoint_id}/files"
    assert ask("GET", f"{files}/manifest.json")[0] == 200
    there = db.path or data_dir / "daemon.lock"
    assert there.is_file()
    for outside in (*OUTSIDE, quote(str(there), safe="")):
        addresses = [
            f"{files}/{outside}",
            f"/v1/checkpoints/{outside}/files/manifest.json",
            f"/v1/checkpoints/{outside}/archive",
            f"/v1/checkpoints/{outside}",
            f"/v1/experiences/{outside}",
            f"/v1/sleep-cycles/{outside}/report",
            f"/v1/instances/{outside}/aliases",
        ]
        for address in addresses:
            for method in ("GET", "HEAD"):
                status, content = ask(method, address)
                assert status in {307, 404, 405}, (method, address)
                assert b"SQLite format" not in content
                assert b"root:" not in content
