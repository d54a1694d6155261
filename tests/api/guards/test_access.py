"""Who may do what: every route with every scope, bound tokens, and when tokens are demanded."""

from __future__ import annotations

import re
import sqlite3
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute, iter_route_contexts

from app.api.guards.access import NEEDED, GuardedRoute
from app.clock import utc_now
from app.db.engine import Database
from app.domain.access import Scope
from app.main import create_app
from app.services.instances import put_instance
from app.services.tokens import create_token, find_token, revoke_token
from app.settings import Settings
from tests.patience import pace, wait_until
from tests.publishing import aliases, publish
from tests.support import RunningDaemon, StartDaemon, make_exchange, run_command

UNKNOWN_ID = "01JZZZZZZZZZZZZZZZZZZZZZZZ"
EVERYWHERE = "0.0.0.0"  # noqa: S104  # what must be refused
PAGES = {"GET /", "GET /favicon.ico", "GET /guide", "GET /guide/{name}"}
"""With the console's files, all that stands in no OpenAPI document."""
Headers = dict[str, str]


def grant(db: Database, *scopes: Scope, **values: Any) -> Headers:
    """Make a token; returns the header that carries it."""
    options: dict[str, Any] = {
        "instances": None, "expires_at": None, "requests_per_minute": None, "max_body_bytes": None,
    }  # fmt: skip
    made = create_token(db, name="test", scopes=set(scopes), now=utc_now(), **{**options, **values})
    return {"Authorization": f"Bearer {made.text}"}


def rows(daemon: RunningDaemon) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of everything in the OpenAPI document."""
    document = daemon.http.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    return [
        (method.upper(), path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]


HELLO = [{"role": "user", "content": "Hello."}]


def fill(path: str, **values: str) -> str:
    ids = dict.fromkeys(
        ("checkpoint_id", "cycle_id", "experience_id", "webhook_id", "delivery_id"), UNKNOWN_ID
    )
    ids["model"] = values.get("checkpoint_id", UNKNOWN_ID)
    return path.format(**{"slug": "default", "name": "manifest.json", **ids, **values})


@pytest.mark.daemon(require_tokens="true")
def test_every_route_demands_exactly_the_scope_of_the_table(
    daemon: RunningDaemon, db: Database
) -> None:
    held = {scope: grant(db, scope) for scope in Scope}
    walked = set[str]()
    for method, path, operation in rows(daemon):
        row = f"{method} {path}"
        needed = NEEDED[row.replace("HEAD", "GET")]
        walked.add(row)
        assert operation.get("security") == ([{"token": [needed.value]}] if needed else None), row
        address = fill(path)
        bare = daemon.http.request(method, address)
        if needed is None:
            assert bare.status_code == 200, row
            continue
        assert bare.status_code == 401, row
        assert bare.headers["www-authenticate"] == 'Bearer realm="sage-sleep"'
        for scope, headers in held.items():
            status = daemon.http.request(method, address, headers=headers).status_code
            if scope is needed:
                assert status not in {401, 403}, (row, scope)
            else:
                assert status == 403, (row, scope)
    assert {row for row in walked if not row.startswith("HEAD")} == {
        row
        for row in NEEDED
        if row not in PAGES and not row.startswith(("GET /console", "GET /web/"))
    }


def test_route_without_a_row_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    router = APIRouter(route_class=GuardedRoute)
    with pytest.raises(LookupError, match=r"GET /v1/secrets.*access"):
        router.get("/v1/secrets")(lambda: None)
    monkeypatch.setitem(NEEDED, "GET /v1/letters/{letter_id}", Scope.READ)
    with pytest.raises(LookupError, match="letter_id"):
        router.get("/v1/letters/{letter_id}")(lambda: None)


def test_application_has_no_route_that_is_not_guarded(tmp_path: Path) -> None:
    app = create_app(Settings(data_dir=tmp_path))
    others = set[str]()
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute):
            assert isinstance(route, GuardedRoute), route.path
        else:
            others.add(getattr(route, "path", ""))
    assert others == {"/openapi.json", "/docs", "/docs/files"}


@pytest.mark.daemon(require_tokens="true")
def test_bound_token_touches_and_sees_only_its_own(
    daemon: RunningDaemon, db: Database, data_dir: Path
) -> None:
    put_instance(db, "own", {}, now=utc_now())
    foreign, _ = publish(db, data_dir / "checkpoints", range(40))
    headers = grant(db, *Scope, instances=["own"])
    every = grant(db, Scope.READ)
    daemon.http.headers.update(headers)
    checkpoint = daemon.http.get(f"/v1/checkpoints/{foreign}", headers=every).json()
    ids = {
        "checkpoint_id": foreign,
        "cycle_id": checkpoint["sleep_cycle_id"],
        "experience_id": checkpoint["experiences"][0]["experience_id"],
    }
    own = daemon.http.post("/v1/experiences", json=make_exchange(1, instance="own"))
    assert own.status_code == 201
    hidden = re.compile("|".join([*ids.values(), '"default"']))
    for method, path, operation in rows(daemon):
        if NEEDED[f"{method} {path}".replace("HEAD", "GET")] is None:
            continue
        address = fill(path, **ids)
        body = {"session": "s", "repetition_ratio": 0} if path.endswith("/reports") else {}
        content = None if method in {"GET", "HEAD", "DELETE"} else body
        answer = daemon.http.request(method, address, json=content)
        # What webhooks are told may be of any instance.
        if "{slug}" in path or path.startswith("/v1/webhooks"):
            assert answer.status_code == 403, (method, path)
            assert "instance-forbidden" in answer.text or method == "HEAD"
        elif "{" in path:
            unknown = daemon.http.request(method, fill(path), json=content)
            assert answer.status_code == unknown.status_code == 404, (method, path)
            given = next(value for value in ids.values() if value in address)
            assert answer.text.replace(given, UNKNOWN_ID) == unknown.text, (method, path)
        elif method == "GET":
            assert answer.status_code == 200
            assert not hidden.search(answer.text), (path, answer.text)
        parameters = {item["name"] for item in operation.get("parameters", ())}
        if "instance" in parameters:
            named = daemon.http.request(method, address, params={"instance": "default"})
            assert named.status_code == 403, path
            mine = daemon.http.request(method, address, params={"instance": "own"})
            assert mine.status_code == 200, path
    for model in (foreign, f"own@{foreign}"):  # to a bound token it is as if it were not there
        said = [
            daemon.http.post("/v1/chat/completions", json={"model": one, "messages": HELLO})
            for one in (model, model.replace(foreign, UNKNOWN_ID))
        ]
        assert [answer.status_code for answer in said] == [404, 404]
        assert said[0].text.replace(foreign, UNKNOWN_ID) == said[1].text
    assert daemon.http.get("/v1/instances").json()["data"][0]["instance"] == "own"
    assert daemon.http.get(f"/v1/experiences/{own.json()['id']}").status_code == 200
    assert daemon.http.get("/v1/experiences").json()["data"][0]["id"] == own.json()["id"]


@pytest.mark.daemon(require_tokens="true")
def test_bound_token_posts_only_into_its_own(daemon: RunningDaemon, db: Database) -> None:
    put_instance(db, "own", {}, now=utc_now())
    daemon.http.headers.update(grant(db, Scope.INGEST, Scope.OPERATE, instances=["own"]))
    assert daemon.http.post("/v1/experiences", json=make_exchange(1)).status_code == 403
    many = [make_exchange(2), make_exchange(3, instance="own")]
    batch = daemon.http.post("/v1/experiences/batch", json=many).json()
    first, second = batch["results"]
    assert (first["result"], first["problem"]["status"]) == ("rejected", 403)
    assert second["result"] == "inserted"
    for wanted in ({}, {"instance": "default", "dry_run": True}):
        assert daemon.http.post("/v1/sleep-cycles", json=wanted).status_code == 403


@pytest.mark.daemon(require_tokens="true")
def test_one_who_only_posts_exchanges_moves_no_alias(
    daemon: RunningDaemon, db: Database, data_dir: Path
) -> None:
    live, _ = publish(db, data_dir / "checkpoints", range(20))
    path = f"/v1/checkpoints/{live}/reports"
    bad = {"repetition_ratio": 1.0, "score": 0.0}

    def tell(scope: Scope, session: str) -> int:
        report = {**bad, "session": session}
        return daemon.http.post(path, json=report, headers=headers[scope]).status_code

    headers = {scope: grant(db, scope) for scope in Scope}
    for scope in Scope:
        expected = 201 if scope is Scope.REPORT else 403
        assert {tell(scope, "s-1") for _ in range(4)} == {expected}, scope
    assert aliases(db) == {"current": live}
    assert [tell(Scope.REPORT, session) for session in ("s-2", "s-3")] == [201, 201]
    assert aliases(db) == {}
    found = daemon.http.get(
        "/v1/instances/default/events",
        params={"subject": "checkpoint"},
        headers=headers[Scope.READ],
    ).json()["data"]
    (event,) = [event for event in found if event["type"] == "checkpoint.regressed"]
    assert event["data"]["sessions"] == ["s-3", "s-2", "s-1"]
    assert len(event["data"]["token_ids"]) == 1


def wait_for(daemon: RunningDaemon, status: int, headers: Headers | None = None) -> float:
    """Seconds until /stats answers so, as on a machine with nothing else to do."""
    started = time.monotonic()
    wait_until(
        lambda: daemon.http.get("/stats", headers=headers).status_code == status, f"status {status}"
    )
    return (time.monotonic() - started) / pace()


def test_loopback_is_open_until_a_token_is_made_and_never_again(
    start_daemon: StartDaemon, db: Database
) -> None:
    daemon = start_daemon()
    assert daemon.http.get("/stats").status_code == 200
    unknown = {"Authorization": "Bearer sage_x_y"}
    assert daemon.http.get("/stats", headers=unknown).status_code == 200
    headers = grant(db, Scope.READ)
    assert wait_for(daemon, 401) < 2
    assert daemon.http.get("/stats", headers=headers).status_code == 200
    revoke_token(db, headers["Authorization"].split("_")[1], now=utc_now())
    assert wait_for(daemon, 401, headers) < 2
    assert daemon.http.get("/stats").status_code == 401


def test_loopback_stays_open_where_tokens_are_not_wanted(
    start_daemon: StartDaemon, db: Database
) -> None:
    grant(db, Scope.READ)
    assert start_daemon(require_tokens="false").http.get("/stats").status_code == 200


def test_other_address_refuses_to_start_without_a_usable_token(
    start_daemon: StartDaemon, db: Database, data_dir: Path
) -> None:
    environment = {"SAGE_DATA_DIR": str(data_dir), "SAGE_HOST": EVERYWHERE, "SAGE_PORT": "0"}
    grant(db, Scope.READ, expires_at=utc_now() + timedelta(milliseconds=1))
    refused = run_command("serve", environment=environment, check=False)
    assert refused.returncode == 1
    assert "sage-sleep tokens create NAME --scope ingest" in refused.stderr
    open_to_all = {**environment, "SAGE_REQUIRE_TOKENS": "false"}
    refused = run_command("serve", environment=open_to_all, check=False)
    assert "SAGE_REQUIRE_TOKENS=false is for loopback" in refused.stderr
    headers = grant(db, Scope.READ)
    daemon = start_daemon(host=EVERYWHERE)
    assert daemon.http.get("/stats").status_code == 401
    assert daemon.http.get("/stats", headers=headers).status_code == 200


@pytest.mark.daemon(require_tokens="true")
def test_stream_ends_when_its_token_is_revoked(daemon: RunningDaemon, db: Database) -> None:
    headers = grant(db, Scope.READ)
    token_id = headers["Authorization"].split("_")[1]
    path = "/v1/instances/default/events"
    wanted = {**headers, "Accept": "text/event-stream"}
    with daemon.http.stream("GET", path, headers=wanted) as response:
        assert response.status_code == 200
        revoke_token(db, token_id, now=utc_now())
        assert list(response.iter_lines()) == ["id: 0", ""]  # the end, and no time-out


def test_made_up_tokens_are_counted_before_the_database_is_asked(
    start_daemon: StartDaemon, db: Database
) -> None:
    daemon = start_daemon(require_tokens="true", requests_per_minute=4)
    headers = grant(db, Scope.READ, requests_per_minute=0)
    assert daemon.http.get("/stats", headers=headers).status_code == 200
    made_up = {"Authorization": "Bearer sage_x_y"}
    answers = [daemon.http.get("/stats", headers=made_up).status_code for _ in range(5)]
    assert answers == [401, 401, 401, 429, 429]
    assert daemon.http.get("/stats").status_code == 429
    assert daemon.http.get("/readyz").status_code == 429
    assert daemon.http.get("/healthz").status_code == 200
    assert daemon.http.get("/stats", headers=headers).status_code == 200


@pytest.mark.daemon(require_tokens="true")
@pytest.mark.parametrize(
    "credentials",
    [
        "Basic c2FnZTpzYWdl",
        "Bearer",
        "Bearer sage",
        "Bearer sage__",
        "Bearer sage_x_y",
        "Bearer \xe9",
    ],
)
def test_what_is_no_token_is_refused_and_said_to_be(
    daemon: RunningDaemon, credentials: str
) -> None:
    headers = httpx.Headers({"Authorization": credentials}, "latin-1")
    answer = daemon.http.get("/stats", headers=headers)
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert answer.json()["type"].endswith("token-refused")


def test_wrong_secret_and_expired_token_are_refused(
    start_daemon: StartDaemon, db: Database
) -> None:
    daemon = start_daemon()
    headers = grant(db, Scope.READ, expires_at=utc_now() + timedelta(seconds=3 * pace()))
    wrong = {"Authorization": headers["Authorization"][:-1]}
    wait_for(daemon, 401)
    assert daemon.http.get("/stats", headers=headers).status_code == 200
    assert daemon.http.get("/stats", headers=wrong).status_code == 401
    assert wait_for(daemon, 401, headers) > 0


@pytest.mark.daemon(require_tokens="true")
def test_missing_scope_is_named(daemon: RunningDaemon, db: Database) -> None:
    answer = daemon.http.get("/stats", headers=grant(db, Scope.INGEST))
    assert answer.status_code == 403
    assert answer.json()["scope"] == "read"
    assert answer.headers["www-authenticate"] == (
        'Bearer realm="sage-sleep", error="insufficient_scope", scope="read"'
    )


@pytest.mark.daemon(require_tokens="true")
def test_asking_with_a_token_commits_at_most_once(
    daemon: RunningDaemon, db: Database, data_dir: Path
) -> None:
    headers = grant(db, Scope.READ)
    token_id = headers["Authorization"].split("_")[1]
    watcher = sqlite3.connect(data_dir / "sage-sleep.db")
    version = watcher.execute("PRAGMA data_version").fetchone()
    commits = 0
    deadline = time.monotonic() + 2.5
    while time.monotonic() < deadline:
        assert daemon.http.get("/stats", headers=headers).status_code == 200
        now = watcher.execute("PRAGMA data_version").fetchone()
        commits += now != version
        version = now
    watcher.close()
    assert commits == 1
    stored = find_token(db, token_id)
    assert stored is not None
    assert stored.last_used_at is not None


@pytest.mark.daemon(require_tokens="true")
def test_limits_of_a_token_are_its_own(daemon: RunningDaemon, db: Database) -> None:
    slow = grant(db, Scope.READ, Scope.INGEST, requests_per_minute=3, max_body_bytes=2000)
    quick = grant(db, Scope.READ, Scope.INGEST)
    large = make_exchange(1) | {"metadata": {"x": "y" * 3000}}
    assert daemon.http.post("/v1/experiences", json=large, headers=slow).status_code == 413
    assert daemon.http.post("/v1/experiences", json=large, headers=quick).status_code == 201
    answers = [daemon.http.get("/stats", headers=slow) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 20
    assert daemon.http.get("/stats", headers=quick).status_code == 200


def test_limit_of_an_address_counts_where_no_token_is_sent(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(requests_per_minute=2)
    answers = [daemon.http.get("/stats") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[-1].json()["type"].endswith("too-many-requests")
    assert daemon.http.get("/healthz").status_code == 200
