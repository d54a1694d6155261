"""The client's types against the OpenAPI document: a field for every property, and no other."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from datetime import datetime
from importlib import resources
from typing import Any

import pytest

from app.client import results
from app.client.cycles import CycleReport, Decision, SleepCycle, SleepPreview
from app.client.streams import FACTS, Event
from app.client.wire import Result, decode
from app.domain.events import EVENTS
from app.main import create_app
from app.settings import Settings

ANSWERS: Mapping[str, tuple[type[Result], ...]] = {
    "GET /readyz": (results.Readiness,),
    "GET /stats": (results.Stats,),
    "POST /v1/chat/completions": (results.ChatCompletion,),
    "DELETE /v1/experiences/{experience_id}": (results.Erasure,),
    "GET /v1/checkpoints": (results.Checkpoint,),
    "GET /v1/checkpoints/{checkpoint_id}": (results.Checkpoint,),
    "PATCH /v1/checkpoints/{checkpoint_id}": (results.Checkpoint,),
    "GET /v1/checkpoints/{checkpoint_id}/experiences": (results.CheckpointUse,),
    "POST /v1/checkpoints/{checkpoint_id}/promote": (results.Aliases,),
    "GET /v1/checkpoints/{checkpoint_id}/reports": (results.LiveReport,),
    "POST /v1/checkpoints/{checkpoint_id}/reports": (results.LiveReport,),
    "GET /v1/experiences": (results.Experience,),
    "POST /v1/experiences": (results.Receipt,),
    "POST /v1/experiences/batch": (results.BatchReceipt,),
    "GET /v1/experiences/{experience_id}": (results.Experience,),
    "GET /v1/instances": (results.Instance,),
    "GET /v1/instances/{slug}": (results.Instance,),
    "PUT /v1/instances/{slug}": (results.Instance,),
    "PATCH /v1/instances/{slug}": (results.Instance,),
    "GET /v1/instances/{slug}/aliases": (results.Aliases,),
    "GET /v1/instances/{slug}/aliases/history": (results.AliasMove,),
    "POST /v1/instances/{slug}/dismiss": (results.Aliases,),
    "GET /v1/instances/{slug}/events": (Event,),
    "GET /v1/instances/{slug}/experience-summary": (results.ExperienceSummary,),
    "POST /v1/instances/{slug}/rebuild": (SleepCycle,),
    "POST /v1/instances/{slug}/push": (results.Push,),
    "GET /v1/instances/{slug}/mirror": (results.Mirror,),
    "POST /v1/instances/{slug}/mirror/pull": (SleepCycle,),
    "POST /v1/instances/{slug}/wake": (results.Wake,),
    "POST /v1/instances/{slug}/rollback": (results.Aliases,),
    "GET /v1/instances/{slug}/sleep-decision": (Decision,),
    "GET /v1/webhooks": (results.Webhook,),
    "POST /v1/webhooks": (results.NewWebhook,),
    "GET /v1/webhooks/{webhook_id}": (results.Webhook,),
    "PATCH /v1/webhooks/{webhook_id}": (results.Webhook,),
    "POST /v1/webhooks/{webhook_id}/rotate": (results.NewWebhook,),
    "POST /v1/webhooks/{webhook_id}/test": (results.WebhookDelivery,),
    "GET /v1/webhooks/{webhook_id}/deliveries": (results.WebhookDelivery,),
    "POST /v1/webhooks/{webhook_id}/deliveries/{delivery_id}/retry": (results.WebhookDelivery,),
    "GET /v1/sleep-cycles": (SleepCycle,),
    "POST /v1/sleep-cycles": (SleepCycle, SleepPreview),
    "GET /v1/sleep-cycles/{cycle_id}": (SleepCycle,),
    "POST /v1/sleep-cycles/{cycle_id}/cancel": (SleepCycle,),
    "GET /v1/sleep-cycles/{cycle_id}/events": (Event,),
    "GET /v1/sleep-cycles/{cycle_id}/report": (CycleReport,),
}
"""What the client reads of each route; of a list its items."""

NO_METHOD = {
    "GET /healthz",
    "GET /v1/models",
    "GET /v1/models/{model}",
    "GET /v1/instances/{slug}/cycle-figures",
    "GET /v1/instances/{slug}/salience-distribution",
}
"""What the console and probes ask for, and no session."""

RECORDED: Mapping[str, Mapping[str, Any]] = json.loads(
    resources.files("app.api").joinpath("examples.json").read_text(encoding="utf-8")
)

SCALARS = {"string": str, "integer": int, "number": float, "boolean": bool}

Schema = Mapping[str, Any]


class Document:
    """The OpenAPI document, with its references followed."""

    def __init__(self, whole: Schema) -> None:
        self._whole = whole

    def resolve(self, schema: Schema) -> Schema:
        """A schema itself, not a reference to it."""
        while "$ref" in schema:
            schema = self._whole["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return schema

    def variants(self, schema: Schema) -> list[Schema]:
        """What a schema allows one of, references followed."""
        schema = self.resolve(schema)
        inner = schema.get("anyOf") or schema.get("oneOf")
        return [found for one in inner for found in self.variants(one)] if inner else [schema]

    def answers(self) -> Iterator[tuple[str, list[Schema]]]:
        """Each route whose answer is JSON, with its objects; of lists their items."""
        for path, operations in self._whole["paths"].items():
            for method, operation in operations.items():
                found = [
                    schema
                    for status, response in operation.get("responses", {}).items()
                    if status.startswith("2")
                    for kind, content in response.get("content", {}).items()
                    if kind == "application/json" and content.get("schema")
                    for schema in self.variants(content["schema"])
                ]
                if any("properties" in schema for schema in found):
                    yield f"{method.upper()} {path}", [self._item(schema) for schema in found]

    def _item(self, schema: Schema) -> Schema:
        is_page = {"data", "has_more", "next"} == set(schema.get("properties", ()))
        return self.resolve(schema["properties"]["data"]["items"]) if is_page else schema


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Document:
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"))
    return Document(create_app(settings).openapi())


def test_client_reads_every_answer_of_json_or_is_known_not_to(document: Document) -> None:
    assert {route for route, _ in document.answers()} == ANSWERS.keys() | NO_METHOD


def test_every_property_of_an_answer_has_a_field_of_its_type_and_none_is_invented(
    document: Document,
) -> None:
    seen: dict[type[Result], set[str]] = {}
    wrong: list[str] = []
    for route, schemas in document.answers():
        kinds = ANSWERS.get(route, ())
        for schema in schemas if kinds else ():
            kind = next((one for one in kinds if fits(one, schema)), kinds[0])
            wrong += compare(document, kind, schema, seen)
    for kind, properties in seen.items():
        invented = {wire_name(item) for item in fields(kind)} - properties - {"raw"}
        wrong += [f"{kind.__name__}.{name} is invented" for name in invented]
    assert not wrong, "\n".join(sorted(set(wrong)))


def fits(kind: type[Result], schema: Schema) -> bool:
    """Whether a schema has all that a type demands."""
    return {wire_name(item) for item in fields(kind) if is_required(item)} <= set(
        schema["properties"]
    )


def compare(
    document: Document, kind: type[Result], schema: Schema, seen: dict[type[Result], set[str]]
) -> Iterator[str]:
    """What is wrong with a type, and the types below it."""
    properties = schema.get("properties", {})
    known = seen.setdefault(kind, set())
    if known >= set(properties) and properties:
        return
    known |= set(properties)
    hints = typing.get_type_hints(kind)
    by_wire = {wire_name(item): item for item in fields(kind)}
    for name, inner in properties.items():
        where = f"{kind.__name__}.{name}"
        if name not in by_wire:
            yield f"{where} is missing"
            continue
        item = by_wire[name]
        is_sent = name in schema.get("required", ()) or "default" in inner
        if is_required(item) and not is_sent:
            yield f"{where} is demanded, and may be absent"
        yield from differ(document, where, hints[item.name], inner, seen)
    for name, item in by_wire.items():
        if is_required(item) and name not in properties:
            yield f"{where_of(kind, name)} is demanded, and not there"


def differ(
    document: Document, where: str, hint: Any, schema: Schema, seen: dict[type[Result], set[str]]
) -> Iterator[str]:
    """What is wrong with a field's type."""
    if hint in {Any, Result}:
        return  # an event's facts are compared by its type, below
    variants = document.variants(schema)
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:
        (hint,) = (one for one in typing.get_args(hint) if one is not type(None))
    elif {"type": "null"} in variants:
        yield f"{where} may be null"
    for one in variants:
        if one.get("type") != "null":
            yield from differ_in_one(document, where, hint, one, seen)


def differ_in_one(
    document: Document, where: str, hint: Any, one: Schema, seen: dict[type[Result], set[str]]
) -> Iterator[str]:
    """The same where the schema allows one thing."""
    kind, origin = one.get("type"), typing.get_origin(hint)
    if "properties" in one and isinstance(hint, type) and issubclass(hint, Result):
        yield from compare(document, hint, one, seen)
    elif kind == "array" and origin is tuple:
        yield from differ(document, where, typing.get_args(hint)[0], one["items"], seen)
    elif kind == "object" and origin is Mapping and "properties" not in one:
        if isinstance(inner := one.get("additionalProperties"), dict):
            yield from differ(document, where, typing.get_args(hint)[1], inner, seen)
    else:
        wanted = datetime if one.get("format") == "date-time" else SCALARS.get(str(kind))
        if hint is not wanted:
            yield f"{where} is {hint}, and the document says {one}"


def wire_name(item: Any) -> str:
    """What a field is called in JSON."""
    return str(item.metadata.get("wire", item.name))


def where_of(kind: type[Result], name: str) -> str:
    """A field as an error names it."""
    return f"{kind.__name__}.{name}"


def is_required(item: Any) -> bool:
    """Whether a field has no default."""
    return item.default is MISSING and item.default_factory is MISSING


@pytest.mark.parametrize("route", sorted(ANSWERS))
def test_recorded_answer_of_a_real_daemon_is_read_by_its_type(route: str) -> None:
    found = [
        value
        for name, kinds in RECORDED.items()
        if name.startswith(f"{route} 2")
        for kind, value in kinds.items()
        if kind == "application/json"
    ]
    assert found
    for value in found:
        for item in value["data"] if {"data", "has_more"} <= set(value) else [value]:
            kind = next(one for one in ANSWERS[route] if fits(one, {"properties": item}))
            assert decode(kind, item).raw == item


def test_facts_of_every_type_of_event_are_those_that_the_daemon_writes(document: Document) -> None:
    written = {str(type_): kind for type_, kind in EVENTS.items() if fields(kind)}
    assert {type_: kind.__name__ for type_, kind in FACTS.items()} == {
        type_: kind.__name__ for type_, kind in written.items()
    }
    (facts,) = (schemas[0]["properties"]["data"] for route, schemas in document.answers()
                if route == "GET /v1/sleep-cycles/{cycle_id}/events")  # fmt: skip
    by_title = {one["title"]: one for one in document.variants(facts)}
    wrong = [
        text
        for kind in FACTS.values()
        for text in compare(document, kind, by_title[kind.__name__], {})
    ]
    assert not wrong, wrong
