"""/v1/experiences over a real socket: receipts, batches, pointers, nothing half stored."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from app.api.schemas import BatchOut, ReceiptOut
from tests.patience import seconds_left
from tests.support import RunningDaemon, StartDaemon, make_exchange


def total_stored(daemon: RunningDaemon) -> int:
    stats = daemon.http.get("/stats").json()
    return sum(sum(item["counts"].values()) for item in stats["instances"])


def test_receipt_holds_what_clients_of_the_older_scripts_read(daemon: RunningDaemon) -> None:
    response = daemon.http.post("/v1/experiences", json=make_exchange(1))
    assert response.status_code == 201
    receipt = response.json()
    assert receipt["experience_id"] == receipt["id"]
    assert (receipt["stored"], receipt["filtered"], receipt["filter_reason"]) == (True, False, None)
    assert receipt["similarity"] == 0.0
    names = {"total", "surprise", "novelty", "arousal", "reward", "conflict"}
    assert set(receipt["salience"]) == names


def test_known_exchange_answers_200_with_the_same_id(daemon: RunningDaemon) -> None:
    first = daemon.http.post("/v1/experiences", json=make_exchange(1))
    again = daemon.http.post("/v1/experiences", json=make_exchange(1))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert again.json()["duplicate"]


def test_answers_are_what_is_documented(daemon: RunningDaemon) -> None:
    answer = daemon.http.post("/v1/experiences", json=make_exchange(1))
    assert answer.headers["content-type"] == "application/json"
    assert ReceiptOut.model_validate(answer.json()).model_dump(mode="json") == answer.json()
    many = [make_exchange(n) for n in (1, 3)]
    for body in (many, [*many, {"prompt": 3}], {"experiences": many}):
        answer = daemon.http.post("/v1/experiences/batch", json=body)
        assert answer.status_code == 200
        assert BatchOut.model_validate(answer.json()).model_dump(mode="json") == answer.json()


def test_an_idempotency_key_names_one_exchange(daemon: RunningDaemon) -> None:
    headers = {"Idempotency-Key": "k"}
    for status in (201, 200):
        answer = daemon.http.post("/v1/experiences", json=make_exchange(1), headers=headers)
        assert answer.status_code == status
    other = daemon.http.post("/v1/experiences", json=make_exchange(9), headers=headers)
    assert other.status_code == 422
    too_long = {"Idempotency-Key": "k" * 257}
    refused = daemon.http.post("/v1/experiences", json=make_exchange(9), headers=too_long)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["parameter"] == "Idempotency-Key"


def test_filtered_reply_says_why(daemon: RunningDaemon) -> None:
    receipt = daemon.http.post(
        "/v1/experiences", json={"prompt": "p", "response": "[timeout] nothing"}
    ).json()
    assert receipt["filtered"]
    assert not receipt["stored"]
    assert "error_text" in receipt["filter_reason"]


def test_acknowledged_exchange_survives_a_kill(start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    receipt = daemon.http.post("/v1/experiences", json=make_exchange(1)).json()
    daemon.process.kill()
    daemon.process.wait()
    found = start_daemon().http.get(f"/v1/experiences/{receipt['id']}").json()
    assert found["response"] == make_exchange(1)["response"]


def test_every_field_of_the_contract_comes_back(daemon: RunningDaemon) -> None:
    sent: dict[str, Any] = make_exchange(
        1,
        instance="default",
        session="s-22",
        session_number=22,
        phase="relating",
        occurred_at="2026-01-18T00:10:43Z",
        source_id="mine-1",
        history=[{"role": "user", "content": "before"}],
        system_prompt="You are SAGE.",
        tool_calls=[{"name": "t", "arguments": {"a": 1}, "success": False, "result": [1]}],
        metadata={"k": {"v": [True, None]}},
        salience={"surprise": 1.0, "novelty": 1, "arousal": 0.5, "reward": 0.5, "conflict": 0},
    )
    receipt = daemon.http.post("/v1/experiences", json=sent).json()
    found = daemon.http.get(f"/v1/experiences/{receipt['id']}").json()
    for name in set(sent) - {"salience"}:
        assert found[name] == sent[name], name
    assert found["salience"]["total"] == pytest.approx(0.6)
    assert found["sleep_cycles"] == []


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"prompt": 3}, "/prompt"),
        ({"response": ""}, "/response"),
        ({"response": "   "}, "/response"),
        ({"response": "x" * 70_000}, "/response"),
        ({"session_number": "22"}, "/session_number"),
        ({"session_number": True}, "/session_number"),
        ({"unknown": 1}, "/unknown"),
        ({"occurred_at": "2026-01-18T00:10:43"}, "/occurred_at"),
        ({"occurred_at": "0001-01-01T00:00:00+14:00"}, "/occurred_at"),
        ({"occurred_at": "9999-12-31T23:59:59-12:00"}, "/occurred_at"),
        ({"occurred_at": 1700000000}, "/occurred_at"),
        ({"occurred_at": "1700000000"}, "/occurred_at"),
        ({"salience": {"surprise": 2.0}}, "/salience/surprise"),
        ({"history": [{"role": "nobody", "content": ""}]}, "/history/0/role"),
        ({"metadata": {"a": "x" * 20_000}}, "/metadata"),
        ({"metadata": {"a": [[[[[[[[[[1]]]]]]]]]]}}, "/metadata"),
        ({"tool_calls": [{"name": ""}]}, "/tool_calls/0/name"),
        ({"instance": "Not A Slug"}, "/instance"),
        ({"instance": "nobody"}, "/instance"),
    ],
)
def test_bad_field_is_refused_with_a_pointer(
    daemon: RunningDaemon, change: dict[str, Any], pointer: str
) -> None:
    response = daemon.http.post("/v1/experiences", json=make_exchange(1) | change)
    assert response.status_code in {404, 422}
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert pointer in [found["pointer"] for found in problem["errors"]]
    assert {"type", "title", "status", "detail"} <= set(problem)
    assert total_stored(daemon) == 0


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"prompt": "a", "response": NaN}', 422),
        (b'{"prompt": "a"', 400),
        (b'{"prompt": "\xff\xfe", "response": "b"}', 400),
        (b'{"prompt": "a", "response": "\\ud800"}', 422),
        (b"[" * 100_000, 400),
        (b"", 422),
        (b"null", 422),
        (b'{"prompt": "a", "response": "b", "metadata": {"x": NaN}}', 422),
        (b'{"prompt": "a", "response": "b", "session_number": 1' + b"0" * 5000 + b"}", 400),
    ],
)
def test_body_that_cannot_be_read_is_a_problem(
    daemon: RunningDaemon, body: bytes, status: int
) -> None:
    response = daemon.http.post(
        "/v1/experiences", content=body, headers={"Content-Type": "application/json"}
    )
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert total_stored(daemon) == 0
    assert daemon.http.get("/healthz").status_code == 200


def test_body_without_json_content_type_says_what_to_send(daemon: RunningDaemon) -> None:
    response = daemon.http.post("/v1/experiences", data={"prompt": "a"})
    assert response.status_code == 415
    assert "Content-Type: application/json" in response.json()["detail"]


@pytest.mark.daemon(max_body_bytes=10_000)
def test_oversized_body_is_refused_before_it_is_read_whole(daemon: RunningDaemon) -> None:
    with socket.create_connection(("127.0.0.1", daemon.http.base_url.port)) as connection:
        connection.settimeout(seconds_left())
        connection.sendall(
            b"POST /v1/experiences HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n{"
        )
        answer = connection.recv(4096)
    assert b" 413 " in answer.split(b"\r\n")[0]
    assert b"application/problem+json" in answer


@pytest.mark.daemon(max_body_bytes=10_000)
def test_oversized_body_without_a_length_is_refused(daemon: RunningDaemon) -> None:
    chunks = (b"x" * 1000 for _ in range(50))
    response = daemon.http.post(
        "/v1/experiences", content=chunks, headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 413


def test_batch_reports_item_by_item(daemon: RunningDaemon) -> None:
    items = [make_exchange(1), make_exchange(1), {"prompt": 1}, make_exchange(2, instance="no")]
    answer = daemon.http.post("/v1/experiences/batch", json=items).json()
    assert [item["result"] for item in answer["results"]] == [
        "inserted",
        "duplicate",
        "rejected",
        "rejected",
    ]
    assert (answer["inserted"], answer["duplicate"], answer["rejected"]) == (1, 1, 2)
    assert answer["results"][2]["problem"]["errors"][0]["pointer"] == "/prompt"
    assert total_stored(daemon) == 1


def test_batch_may_be_an_object_and_holds_a_thousand(daemon: RunningDaemon) -> None:
    many = {"experiences": [make_exchange(n) for n in range(1001)]}
    assert daemon.http.post("/v1/experiences/batch", json=many).status_code == 422
    many["experiences"].pop()
    assert daemon.http.post("/v1/experiences/batch", json=many).json()["inserted"] == 1000


def test_pages_hold_every_experience_once(daemon: RunningDaemon) -> None:
    daemon.http.post("/v1/experiences/batch", json=[make_exchange(n) for n in range(25)])
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = daemon.http.get("/v1/experiences", params={"limit": 10, **cursor}).json()
        seen += [item["id"] for item in page["data"]]
        if not page["has_more"]:
            break
        cursor = {"cursor": page["next"]}
    assert len(seen) == len(set(seen)) == 25
    assert page["next"] is None


def test_filters_and_search(daemon: RunningDaemon) -> None:
    daemon.http.post(
        "/v1/experiences/batch",
        json=[make_exchange(n, phase="a" if n % 2 else "b", session_number=n) for n in range(10)],
    )

    def found(**query: Any) -> int:
        return len(daemon.http.get("/v1/experiences", params=query).json()["data"])

    assert found(phase="a") == 5
    assert found(session_number=3) == 1
    assert found(q="NUMBER7 taught") == 1
    assert found(q="100%_") == 0
    assert found(instance="default", min_salience=1.0) == 0
    assert daemon.http.get("/v1/experiences", params={"status": "odd"}).status_code == 422
    assert daemon.http.get("/v1/experiences", params={"cursor": "odd"}).status_code == 422


@pytest.mark.parametrize(
    "path",
    [
        "/v1/experiences?session_number=9223372036854775808",
        "/v1/experiences?q=%00",
        "/v1/experiences?q=",
        "/v1/experiences?limit=0",
        "/v1/experiences?cursor=odd",
        "/v1/instances/default/aliases/history?cursor=99999999999999999999",
    ],
)
def test_parameter_out_of_range_is_named(daemon: RunningDaemon, path: str) -> None:
    response = daemon.http.get(path)
    assert response.status_code == 422
    (found,) = response.json()["errors"]
    assert found["parameter"] == path.partition("?")[2].partition("=")[0]


def test_batch_that_is_no_list_says_what_to_send(daemon: RunningDaemon) -> None:
    for body in ({"experiences": 3}, {"experiences": [], "x": 1}, "text"):
        response = daemon.http.post("/v1/experiences/batch", json=body)
        assert response.status_code == 422, body
        assert "list of exchanges" in response.json()["detail"]
    assert daemon.http.post("/v1/experiences/batch", json=[]).json()["results"] == []


def test_erasing_removes_the_text_and_keeps_the_hash(daemon: RunningDaemon) -> None:
    receipt = daemon.http.post("/v1/experiences", json=make_exchange(1)).json()
    path = f"/v1/experiences/{receipt['id']}"
    erased = daemon.http.delete(path)
    assert erased.json()["status"] == "erased"
    assert erased.json()["checkpoints"] == []
    found = daemon.http.get(path).json()
    assert (found["prompt"], found["response"]) == ("", "")
    assert len(found["content_sha256"]) == 64
    again = daemon.http.post("/v1/experiences", json=make_exchange(1))
    assert (again.status_code, again.json()["status"]) == (200, "erased")


def test_erasing_reaches_later_histories_and_says_so_twice(daemon: RunningDaemon) -> None:
    secret = "the third drawer of the green desk opens with a hairpin"
    first = make_exchange(1, response=f"I shall keep it: {secret}.")
    history = [
        {"role": "user", "content": first["prompt"]},
        {"role": "assistant", "content": first["response"]},
    ]
    erased_id, later_id = (
        daemon.http.post("/v1/experiences", json=exchange).json()["id"]
        for exchange in (first, make_exchange(2, history=history))
    )
    answers = [daemon.http.delete(f"/v1/experiences/{erased_id}").json() for _ in range(2)]
    assert [answer["taken_from"] for answer in answers] == [[later_id], [later_id]]
    assert answers[0] == answers[1] | {"repeated_in": []}
    assert answers[0]["purged"]
    files = [path for path in daemon.data_dir.rglob("*") if path.is_file()]
    assert [path for path in files if secret.encode() in path.read_bytes()] == []
    left = daemon.http.get(f"/v1/experiences/{later_id}").json()
    assert left["prompt"] == make_exchange(2)["prompt"]
    assert [turn["content"][:9] for turn in left["history"]] == ["[removed:", "[removed:"]
    again = daemon.http.post("/v1/experiences", json=make_exchange(2, history=history))
    assert (again.status_code, again.json()["id"]) == (200, later_id)


def test_erasing_forgets_what_was_kept_of_replies(daemon: RunningDaemon) -> None:
    kept = daemon.data_dir / "kept" / "base" / "measures-adapter-key.json"
    references = kept.with_name("references-key.safetensors")
    of_session = kept.with_name("session-references-key.safetensors")
    kept.parent.mkdir(parents=True)
    for file in (kept, references, of_session):
        file.write_text("{}")
    receipt = daemon.http.post("/v1/experiences", json=make_exchange(1)).json()
    daemon.http.delete(f"/v1/experiences/{receipt['id']}")
    assert not kept.exists()
    assert not of_session.exists()  # it holds the system prompts of sessions
    assert references.exists()


def test_log_never_holds_conversation_text(start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    daemon.http.post("/v1/experiences", json=make_exchange(7))
    daemon.http.post("/v1/experiences", json=make_exchange(8) | {"phase": 3})
    daemon.http.get("/v1/experiences", params={"q": "secret-search"})
    daemon.stop()
    assert "word7" not in daemon.log
    assert "word8" not in daemon.log
    assert "secret-search" not in daemon.log
    assert all(json.loads(line) for line in daemon.log.splitlines())
