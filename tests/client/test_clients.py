"""Every operation against a real daemon; the two clients are the same in all that can be seen."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.client import (
    AsyncSleepClient,
    Exchange,
    RequestRefused,
    SleepClient,
)
from tests.client.scripted import Answer, ScriptedServer
from tests.support import RunningDaemon, make_exchange

OWN = {"close", "aclose", "is_closed", "url"}


def operations(kind: type) -> dict[str, Any]:
    return {
        name: method
        for name, method in vars(kind).items()
        if not name.startswith("_") and name not in OWN
    }


def test_both_clients_have_the_same_operations_described_alike() -> None:
    blocking, awaited = operations(SleepClient), operations(AsyncSleepClient)
    assert set(blocking) == set(awaited)
    for name, method in blocking.items():
        first, second = inspect.signature(method), inspect.signature(awaited[name])
        assert first.parameters == second.parameters, name
        assert next(iter(first.parameters)) == "self"
        assert method.__doc__, name


def test_import_brings_httpx_and_nothing_else_of_ours() -> None:
    program = (
        "import sys, app.client\n"
        "ours = [m for m in sys.modules if m.startswith('app.') and m[:10] != 'app.client']\n"
        "heavy = {'pydantic', 'sqlalchemy', 'fastapi', 'torch', 'typer'} & set(sys.modules)\n"
        "sys.exit(str((ours, heavy)) if ours or heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_exchange_is_posted_once_read_listed_and_erased(client: SleepClient) -> None:
    exchange = Exchange(**make_exchange(1, session="s-1", session_number=7, phase="relating"))
    receipt = client.post_experience(exchange)
    again = client.post_experience(make_exchange(1))
    assert (receipt.duplicate, again.duplicate, again.id) == (False, True, receipt.id)
    assert 0 < receipt.salience.total <= 1
    found = client.get_experience(receipt.id)
    assert (found.session_number, found.phase, found.salience) == (7, "relating", receipt.salience)
    page = client.list_experiences(instance="default", text="day 1", session="s-1", limit=5)
    assert [item.id for item in page.data] == [receipt.id]
    erased = client.erase_experience(receipt.id)
    assert (erased.status, erased.checkpoints, erased.purged) == ("erased", (), True)
    assert client.get_experience(receipt.id).status == "erased"


def test_more_than_a_batch_goes_in_several_and_every_exchange_has_its_place(
    client: SleepClient,
) -> None:
    exchanges = [make_exchange(n) for n in range(2100)]
    exchanges[1500] = {"prompt": "no response"}
    receipt = client.post_experiences(exchanges)
    assert (receipt.inserted, receipt.duplicate, receipt.rejected) == (2099, 0, 1)
    assert [item.index for item in receipt.results] == list(range(2100))
    refused = receipt.results[1500]
    assert refused.problem is not None
    assert refused.problem.status == 422
    kept = [item.prompt for item in client.iterate_experiences(instance="default")]
    assert len(kept) == 2099
    assert kept[0] == exchanges[-1]["prompt"]


def test_summary_counts_what_entered_the_buffer(client: SleepClient) -> None:
    assert client.get_experience_summary().averages is None
    client.post_experiences([make_exchange(n) for n in range(30)])
    client.post_experience(Exchange(prompt="p", response="[error] nothing"))
    client.post_experience(Exchange(prompt="p", response="Okay."))
    counted = [
        item
        for item in client.iterate_experiences()
        if item.status not in {"filtered", "below_threshold"}
    ]
    totals = [item.salience.total for item in counted]
    limit = sorted(totals)[10]
    summary = client.get_experience_summary("default", min_salience=limit)
    assert summary.count == len(counted) == 30
    assert summary.salient == sum(total >= limit for total in totals)
    assert summary.averages is not None
    assert summary.averages.total == pytest.approx(sum(totals) / len(totals))
    assert summary.newest_at == counted[0].received_at
    assert summary.oldest_at == counted[-1].received_at


def test_cycle_is_previewed_requested_followed_to_its_end_and_reported(
    client: SleepClient,
) -> None:
    client.post_experiences([make_exchange(n) for n in range(20)])
    assert not client.get_sleep_decision().due
    preview = client.preview_sleep(force=True, overrides={"epochs": 3})
    assert preview.refused is None
    assert preview.plan.recipe.epochs == 3
    with pytest.raises(RequestRefused, match="not due"):
        client.request_sleep()
    cycle = client.request_sleep(force=True)
    seen = list(client.follow_sleep_cycle(cycle.id))
    assert seen[-1].is_ended
    assert seen[-1].status == "failed"
    assert client.list_sleep_cycles(instance="default").data[0].id == cycle.id
    assert client.get_cycle_report(cycle.id).status == "failed"
    events = list(client.follow_sleep_cycle_events(cycle.id))
    assert events[0].type == "sleep_cycle.queued"
    assert [event.id for event in events] == sorted(event.id for event in events)
    page = client.list_sleep_cycle_events(cycle.id)
    assert list(page.data) == [event for event in events if event in page.data]
    assert {event.type for event in events if event not in page.data} <= {"sleep_cycle.progress"}
    rest = list(client.follow_sleep_cycle_events(cycle.id, after=events[0].id))
    assert rest == list(page.data[1:])
    with pytest.raises(RequestRefused):
        client.cancel_sleep_cycle(cycle.id)


def test_cycle_events_come_as_a_list_where_no_stream_can_be_had(
    published: list[str], client: SleepClient, scripted: ScriptedServer
) -> None:
    cycle = client.list_sleep_cycles(instance="default", limit=len(published) - 1).data[0]
    (ended,) = client.follow_sleep_cycle(cycle.id)
    events = client.list_sleep_cycle_events(cycle.id).raw
    # What a proxy answers that knows no streams: the daemon's own answers, as plain JSON.
    as_json = {"Content-Type": "application/json"}
    scripted.answers = [Answer.of(ended.raw, headers=as_json), Answer.of(events, headers=as_json)]
    with SleepClient(scripted.url) as proxied:
        assert len(list(proxied.follow_sleep_cycle_events(cycle.id))) == len(events["data"])


def test_registry_is_read_moved_and_annotated(published: list[str], client: SleepClient) -> None:
    first, second = published
    assert [item.id for item in client.list_checkpoints(instance="default").data] == [second, first]
    checkpoint = client.get_checkpoint(second)
    assert (checkpoint.aliases, checkpoint.parent_id) == (("current",), first)
    assert len(client.list_checkpoint_experiences(second, limit=500).data) > 20
    noted = client.patch_checkpoint(first, note="the calm one", pinned=True)
    assert (noted.note, noted.pinned) == ("the calm one", True)
    aliases = client.get_aliases()
    assert (aliases.current, aliases.previous) == (second, first)
    moved = client.promote(first, revision=aliases.revision, reason="calmer")
    assert moved.current == first
    with pytest.raises(RequestRefused) as raised:
        client.promote(second, revision=aliases.revision)
    assert raised.value.status == 412
    assert client.rollback(reason="try again").current == second
    assert client.list_alias_history().data[0].reason == "try again"
    with pytest.raises(RequestRefused):
        client.dismiss_candidate()
    client.patch_checkpoint(first, pinned=False)
    report = client.report_checkpoint(second, session="s-1", repetition_ratio=0.1, score=0.9)
    assert (report.counted, report.faults) == (True, ())
    assert client.list_checkpoint_reports(second).data == (report,)
    third = client.rollback()
    assert third.current == first
    client.delete_checkpoint(second)
    assert client.get_checkpoint(second).status == "deleted"


def test_instances_stats_and_readiness(client: SleepClient, daemon: RunningDaemon) -> None:
    made = client.put_instance(
        "sprout-qwen", policy={"min_salience": 0.4}, timezone="Europe/Lisbon"
    )
    assert made == client.get_instance("sprout-qwen")
    assert made.policy.min_salience == 0.4
    assert [item.instance for item in client.list_instances().data] == ["default", "sprout-qwen"]
    stats = client.get_stats("sprout-qwen")
    assert stats.instances[0].mass == 0
    assert not client.get_stats(limit=1).instances[0].counts["buffered"]
    assert client.get_readiness().status == "ready"
    assert client.is_ready()
    assert client.list_instance_events("sprout-qwen").data == ()
    daemon.stop()
    assert client.get_readiness().status == "unavailable"
    assert not client.is_ready()


def test_asyncio_client_does_the_same(published: list[str], url: str, tmp_path: Path) -> None:
    async def session() -> None:
        async with AsyncSleepClient(url) as client:
            receipts = await asyncio.gather(
                *(client.post_experience(make_exchange(n)) for n in range(100, 120))
            )
            assert len({receipt.id for receipt in receipts}) == 20
            assert (await client.post_experiences([make_exchange(100)])).duplicate == 1
            found = [item async for item in client.iterate_experiences(limit=7)]
            assert len(found) == 60
            cycle = (await client.list_sleep_cycles()).data[0]
            seen = [state.status async for state in client.follow_sleep_cycle(cycle.id)]
            assert seen == ["succeeded"]
            events = [event async for event in client.follow_sleep_cycle_events(cycle.id)]
            assert events[0].type == "sleep_cycle.queued"
            path = await client.download_checkpoint(published[0], tmp_path)
            assert (path / "adapter_model.safetensors").is_file()
            with pytest.raises(RequestRefused):
                await client.get_checkpoint("01J")

    asyncio.run(session())


def test_instance_events_come_live_from_now_on_or_after_a_number(
    published: list[str], client: SleepClient, url: str
) -> None:
    async def session() -> list[tuple[str, str | None]]:
        async with AsyncSleepClient(url) as watcher:
            watch = watcher.watch_instance_events("default", subject="checkpoint")
            told = []
            for _ in range(2):
                waiting = asyncio.ensure_future(anext(watch))
                await asyncio.sleep(1)
                await asyncio.to_thread(client.rollback)
                event = await asyncio.wait_for(waiting, 20)
                told.append((event.type, event.checkpoint_id))
            return told

    assert asyncio.run(session()) == [
        ("checkpoint.rolled_back", published[0]),
        ("checkpoint.rolled_back", None),
    ]
    past = client.list_instance_events("default", subject="checkpoint").data
    live = client.watch_instance_events("default", subject="checkpoint", after=past[0].id)
    assert [next(live) for _ in past[1:]] == list(past[1:])
