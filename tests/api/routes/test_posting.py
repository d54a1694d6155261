"""Posting: the short way through the bytes takes and answers what FastAPI's way does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.api.schemas import BatchOut, ReceiptOut
from app.domain.exchange import Exchange
from tests.support import RunningDaemon, StartDaemon, make_exchange

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = {
    "prompt": st.text(max_size=10),
    "response": st.text(max_size=10),
    "session_number": st.integers() | st.floats(),
    "occurred_at": st.datetimes().map(lambda at: f"{at.isoformat()}Z") | st.text(max_size=12),
    "metadata": st.dictionaries(st.text(max_size=3), JSON_VALUES, max_size=3),
    "history": st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["user", "tool", "nobody"]), "content": st.text(max_size=4)}
        ),
        max_size=2,
    ),
    "tool_calls": st.lists(
        st.fixed_dictionaries({"name": st.text(max_size=3)}, optional={"result": JSON_VALUES}),
        max_size=2,
    ),
    "salience": st.dictionaries(st.sampled_from(["surprise", "novelty"]), st.floats(0, 1)),
}


def read(way: Any, body: Any) -> Exchange | None:
    try:
        exchange: Exchange = way(body)
    except ValidationError:
        return None
    return exchange


@given(
    st.fixed_dictionaries({}, optional={name: v | JSON_VALUES for name, v in FIELDS.items()}),
)
def test_bytes_are_read_as_the_parsed_body_is(values: dict[str, Any]) -> None:
    body = json.dumps({"prompt": "p", "response": "r", **values})
    short = read(Exchange.model_validate_json, body)
    if short is not None:  # what the short way refuses, FastAPI's way reads again
        assert short == read(Exchange.model_validate, json.loads(body))


@pytest.fixture
def daemon(start_daemon: StartDaemon) -> RunningDaemon:
    return start_daemon()


def test_both_ways_answer_what_is_documented(daemon: RunningDaemon) -> None:
    short = daemon.http.post("/v1/experiences", json=make_exchange(1))
    fastapis = daemon.http.post(
        "/v1/experiences",
        json=make_exchange(2),
        headers={"Content-Type": "application/exchange+json"},
    )
    for answer in (short, fastapis):
        assert answer.status_code == 201
        assert answer.headers["content-type"] == "application/json"
        assert ReceiptOut.model_validate(answer.json()).model_dump(mode="json") == answer.json()
    many = [make_exchange(n) for n in (1, 3)]
    batches = [
        daemon.http.post("/v1/experiences/batch", json=body)
        for body in (many, [*many, {"prompt": 3}], {"experiences": many})
    ]
    for answer in batches:
        assert answer.status_code == 200
        assert BatchOut.model_validate(answer.json()).model_dump(mode="json") == answer.json()
    assert [answer.json()["duplicate"] for answer in batches] == [1, 2, 2]


def test_an_idempotency_key_counts_on_both_ways(daemon: RunningDaemon) -> None:
    for number, media_type in enumerate(("application/json", "application/exchange+json")):
        headers = {"Idempotency-Key": f"k{number}", "Content-Type": media_type}
        body = make_exchange(number)
        posts = [daemon.http.post("/v1/experiences", json=body, headers=headers) for _ in range(2)]
        assert [answer.status_code for answer in posts] == [201, 200]
        other = daemon.http.post("/v1/experiences", json=make_exchange(9), headers=headers)
        assert other.status_code == 422
        too_long = headers | {"Idempotency-Key": "k" * 257}
        refused = daemon.http.post("/v1/experiences", json=make_exchange(9), headers=too_long)
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["parameter"] == "Idempotency-Key"
