"""The OpenAPI document's examples: there, as its schemas say, and taken by a real daemon."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from app.db.engine import Database
from app.domain.events import EVENTS, EventType
from app.main import create_app
from app.settings import Settings
from tests.api.guards.test_access import fill
from tests.publishing import publish
from tests.record_examples import TARGET, body_example
from tests.support import RunningDaemon, make_exchange

JSON = "application/json"

NOT_SHOWN = {
    "text/html": "a page",
    "application/octet-stream": "weights",
    "application/x-tar": "an archive",
}
"""Content that cannot be read in a document."""


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    document: dict[str, Any] = create_app(
        Settings(data_dir=tmp_path_factory.mktemp("data"))
    ).openapi()
    return document


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def closed(document: dict[str, Any], schema: dict[str, Any]) -> jsonschema_rs.Validator:
    """A validator that takes no field which the schema does not name."""
    schemas = copy.deepcopy(document["components"]["schemas"])
    for item in schemas.values():
        if "properties" in item:
            item["additionalProperties"] = False
    return jsonschema_rs.validator_for({**schema, "components": {"schemas": schemas}})


FREE_BY_NATURE = {
    "Exchange.metadata": "the session's own",
    "ExperienceOut.metadata": "the session's own",
    "ExperienceDetailOut.metadata": "the session's own",
    "ToolCall.arguments": "the tool's own",
    "ToolCall.result": "the tool's own",
    "Problem": "further members hold ids and numbers of the case",
}


def find_free(schema: Any, place: str) -> Iterator[str]:
    """Where a schema allows anything: an object whose members nobody names, or no type at all."""
    if isinstance(schema, list):
        for item in schema:
            yield from find_free(item, place)
        return
    if schema is True or not schema.keys() - {"title", "description", "default", "examples"}:
        yield place
        return
    members = schema.get("properties", {})
    others = [*schema.get("patternProperties", {}).values()]
    others += [schema[name] for name in ("additionalProperties",) if name in schema]
    is_named = members or schema.get("additionalProperties") is False or others
    if (schema.get("type") == "object" and not is_named) or True in others or {} in others:
        yield place
    for name, member in members.items():
        yield from find_free(member, f"{place}.{name}")
    for part in ("items", "prefixItems", "anyOf", "oneOf", "allOf"):
        yield from find_free(schema.get(part, []), place) if part in schema else ()
    yield from find_free([item for item in others if not isinstance(item, bool)], place)


def test_nothing_in_the_document_is_free_but_what_is_by_nature(document: dict[str, Any]) -> None:
    free = {
        place
        for name, schema in document["components"]["schemas"].items()
        for place in find_free(schema, name)
    }
    for method, path, operation in operations(document):
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for body in [] if "Accept-Ranges" in str(bodies) else bodies:  # files, as they lie
            for media_type, content in body.get("content", {}).items():
                if media_type not in {*NOT_SHOWN, "text/event-stream"}:
                    free |= set(find_free(content["schema"], f"{method} {path} {media_type}"))
        for parameter in operation.get("parameters", ()):
            free |= set(find_free(parameter["schema"], f"{method} {path} {parameter['name']}"))
    assert free == FREE_BY_NATURE.keys()


@pytest.mark.parametrize(
    ("schema", "is_free"),
    [
        ({"type": "object"}, True),
        ({"type": "object", "additionalProperties": True}, True),
        ({"title": "Any"}, True),
        ({"type": "array", "items": {}}, True),
        ({"anyOf": [{"type": "object"}, {"type": "null"}]}, True),
        ({"type": "object", "properties": {"x": {"title": "X"}}}, True),
        ({"type": "object", "additionalProperties": {"type": "number"}}, False),
        ({"type": "object", "patternProperties": {"^a": {"type": "number"}}}, False),
        ({"type": "object", "properties": {}, "additionalProperties": False}, False),
        ({"$ref": "#/components/schemas/Check"}, False),
    ],
)
def test_a_free_part_is_found_wherever_it_stands(schema: dict[str, Any], *, is_free: bool) -> None:
    assert bool(list(find_free(schema, "here"))) is is_free


def test_events_name_what_goes_with_each_type(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert set(schemas["EventType"]["enum"]) == set(EventType)
    named = {
        item["$ref"].rpartition("/")[2]
        for item in schemas["EventOut"]["properties"]["data"]["anyOf"]
    }
    assert named == {kind.__name__ for kind in EVENTS.values()}


def test_every_body_has_an_example_that_its_schema_allows(document: dict[str, Any]) -> None:
    found = 0
    for _method, _path, operation in operations(document):
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"][JSON]["schema"]
            closed(document, schema).validate(body_example(document, operation))
            found += 1
    assert found == 17


def test_every_answer_has_an_example_that_its_schema_allows(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        good = {status: item for status, item in operation["responses"].items() if status < "300"}
        assert good, (method, path)
        for status, answer in good.items():
            assert answer.get("content") or status == "204", (method, path, status)
            if method == "HEAD" or status == "206":
                continue
            for media_type, content in answer.get("content", {}).items():
                if media_type in NOT_SHOWN:
                    assert answer.get("headers") or JSON in answer["content"], (method, path)
                    continue
                (example,) = content["examples"].values()
                if content.get("schema"):
                    closed(document, content["schema"]).validate(example["value"])
                else:
                    assert example["value"], (method, path, media_type)


def test_every_recorded_answer_is_shown(document: dict[str, Any]) -> None:
    shown = {
        f"{method} {path} {status}"
        for method, path, operation in operations(document)
        for status, answer in operation["responses"].items()
        if any("examples" in content for content in answer.get("content", {}).values())
    }
    assert shown == set(json.loads(TARGET.read_text()))


def test_errors_show_a_problem(document: dict[str, Any]) -> None:
    problem = document["components"]["schemas"]["Problem"]
    closed(document, problem).validate(problem["examples"][0])


MAIN = {
    "POST /v1/experiences": 201,
    "POST /v1/experiences/batch": 200,
    "PUT /v1/instances/{slug}": 201,
    "PATCH /v1/instances/{slug}": 200,
    "PATCH /v1/checkpoints/{checkpoint_id}": 200,
    "POST /v1/checkpoints/{checkpoint_id}/reports": 201,
    "POST /v1/checkpoints/{checkpoint_id}/promote": 200,
    "POST /v1/instances/{slug}/rollback": 200,
    "POST /v1/instances/{slug}/rebuild": 202,
    "POST /v1/instances/{slug}/wake": 200,
    "POST /v1/chat/completions": 409,  # the base model cannot be read
    "POST /v1/instances/{slug}/push": 409,  # no Ollama is there
    "POST /v1/instances/{slug}/mirror/pull": 409,  # no mirror is named
    "POST /v1/sleep-cycles/{cycle_id}/cancel": 202,
    "POST /v1/sleep-cycles": 202,
    "POST /v1/webhooks": 201,
    "PATCH /v1/webhooks/{webhook_id}": 200,
    "POST /v1/webhooks/{webhook_id}/rotate": 200,
    "POST /v1/webhooks/{webhook_id}/test": 202,
    "POST /v1/webhooks/{webhook_id}/deliveries/{delivery_id}/retry": 202,
    "POST /v1/instances/{slug}/dismiss": 409,  # there is no candidate; a recorded one was dismissed
}
"""What changes something, in an order in which each can be asked, and what is answered."""


def test_daemon_takes_every_request_that_is_shown(
    daemon: RunningDaemon,
    db: Database,
    document: dict[str, Any],
) -> None:
    checkpoint_id, _ = publish(db, daemon.data_dir / "checkpoints", range(40))
    shown = {
        f"{method} {path}": operation
        for method, path, operation in operations(document)
        if method not in {"GET", "HEAD", "DELETE"}
    }
    assert shown.keys() == MAIN.keys()
    daemon.http.post("/v1/experiences/batch", json=[make_exchange(n) for n in range(40, 60)])
    ids = {"checkpoint_id": checkpoint_id}
    for name, status in MAIN.items():
        method, _, path = name.partition(" ")
        body = body_example(document, shown[name]) if "requestBody" in shown[name] else None
        slug = (
            "sprout"
            if name in {"PUT /v1/instances/{slug}", "PATCH /v1/instances/{slug}"}
            else "default"
        )
        answer = daemon.http.request(method, fill(path, slug=slug, **ids), json=body)
        assert answer.status_code == status, (name, answer.text)
        assert str(status) in shown[name]["responses"]
        if name.endswith("/rebuild"):
            ids["cycle_id"] = answer.json()["id"]
        elif name.endswith("/cancel"):
            daemon.wait_for_cycle(ids["cycle_id"])
        elif name == "POST /v1/webhooks":
            ids["webhook_id"] = answer.json()["id"]
        elif name.endswith("/test"):
            ids["delivery_id"] = answer.json()["id"]


def test_free_parts_of_answers_hold_what_the_daemon_sends_today(
    daemon: RunningDaemon,
    db: Database,
    document: dict[str, Any],
) -> None:
    checkpoint_id, _ = publish(db, daemon.data_dir / "checkpoints", range(40))
    cycle_id = daemon.http.get(f"/v1/checkpoints/{checkpoint_id}").json()["sleep_cycle_id"]
    ids = {"checkpoint_id": checkpoint_id, "cycle_id": cycle_id}
    for path, parts in {
        "/v1/instances/{slug}": ("policy", "recipe", "overrides"),
        "/v1/sleep-cycles/{cycle_id}": ("plan", "metrics", "verdict"),
        "/v1/checkpoints/{checkpoint_id}": ("metrics", "verdict"),
        "/readyz": ("checks",),
    }.items():
        shown = example_of(document, path)
        sent = daemon.http.get(fill(path, **ids)).json()
        assert shown.keys() == sent.keys()
        for part in parts:
            assert shown[part].keys() == sent[part].keys(), (
                path,
                part,
                "python -m tests.record_examples records anew",
            )


def example_of(document: dict[str, Any], path: str) -> dict[str, Any]:
    content = document["paths"][path]["get"]["responses"]["200"]["content"][JSON]
    value: dict[str, Any] = content["examples"]["recorded"]["value"]
    return value


def test_download_answers_as_its_document_says(
    daemon: RunningDaemon,
    db: Database,
    document: dict[str, Any],
) -> None:
    checkpoint_id, _ = publish(db, daemon.data_dir / "checkpoints", range(40))
    for part in ("/archive", "/files/{name}"):
        template = "/v1/checkpoints/{checkpoint_id}" + part
        operation = document["paths"][template]["get"]
        path = fill(template, checkpoint_id=checkpoint_id, name="adapter_model.safetensors")
        etag = daemon.http.head(path).headers["etag"]
        for status, headers in {
            200: {},
            206: {"Range": "bytes=1-2", "If-Range": etag},
            304: {"If-None-Match": etag},
            416: {"Range": "bytes=99999999-"},
        }.items():
            assert set(headers) <= {item["name"] for item in operation["parameters"]}
            ask_and_compare(daemon, path, headers, status, operation["responses"][str(status)])


def ask_and_compare(
    daemon: RunningDaemon, path: str, headers: dict[str, str], status: int, said: dict[str, Any]
) -> None:
    answer = daemon.http.get(path, headers=headers)
    assert answer.status_code == status
    assert {name.lower() for name in said["headers"]} <= set(answer.headers)
    if status != 304:
        assert answer.headers["content-type"] in said["content"]
