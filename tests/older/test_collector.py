"""The collector that keeps a buffer file beside the daemon, with a daemon and without one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.client import SleepClient
from app.errors import InvalidImportFile
from app.older import ExperienceCollector, RaisingTrainingDataBuilder
from tests.support import RunningDaemon, StartDaemon, free_port, make_exchange

Collect = Callable[..., ExperienceCollector]
REPLY = "We noticed together that I rather understand it now, and I feel curious about it."


@pytest.fixture(params=["daemon", "nobody"])
def url(request: pytest.FixtureRequest) -> str:
    """Where a daemon listens, or where none does."""
    if request.param == "nobody":
        return f"http://127.0.0.1:{free_port()}"
    daemon: RunningDaemon = request.getfixturevalue("daemon")
    return str(daemon.http.base_url)


@pytest.fixture
def collect(tmp_path: Path) -> Iterator[Collect]:
    made: list[ExperienceCollector] = []

    def make(url: str, **arguments: Any) -> ExperienceCollector:
        arguments.setdefault("buffer_path", tmp_path / "buffer.json")
        made.append(ExperienceCollector(url=url, **arguments))
        return made[-1]

    yield make
    for collector in made:
        collector.close()


def test_what_is_stored_stands_in_the_file(collect: Collect, url: str, tmp_path: Path) -> None:
    collector = collect(url, salience_threshold=0.3)
    added = collector.add_exchange(
        "p", REPLY, session_number=4, phase="relating", metadata={"turn": 1}
    )
    assert (added["stored"], added["filtered"]) == (True, False)
    (record,) = json.loads((tmp_path / "buffer.json").read_text("utf-8"))
    assert collector.experiences == [record]
    assert record["id"] == added["experience_id"]
    assert record["salience"] == added["salience"]
    assert (record["session"], record["phase"], record["metadata"]) == (4, "relating", {"turn": 1})


def test_what_is_not_stored_has_no_id(collect: Collect, url: str) -> None:
    collector = collect(url)
    dull = collector.add_exchange("p", "Okay.")
    assert not dull["stored"]
    assert "experience_id" not in dull
    collector.add_exchange("q", REPLY)
    copied = collector.add_exchange("r", f"{REPLY} Yes.")
    assert (copied["stored"], copied["filtered"]) == (False, True)
    assert "similar" in copied["filter_reason"]
    assert "experience_id" not in copied
    assert len(collector.experiences) == 1


def test_statistics_are_of_the_file_and_zero_at_first(collect: Collect, url: str) -> None:
    collector = collect(url)
    empty = collector.get_stats()
    assert (empty["total_experiences"], empty["avg_salience"]) == (0, 0.0)
    assert set(empty["dimension_averages"].values()) == {0.0}
    added = [
        collector.add_exchange(exchange["prompt"], exchange["response"])
        for exchange in (make_exchange(n) for n in range(6))
    ]
    totals = [item["salience"]["total"] for item in added if item["stored"]]
    stats = collector.get_stats()
    assert stats["total_experiences"] == len(totals) > 0
    assert stats["avg_salience"] == pytest.approx(sum(totals) / len(totals))
    assert stats["oldest_experience"] <= stats["newest_experience"]
    kept = collector.get_high_salience_experiences(min_salience=0.5)
    assert [r["salience"]["total"] for r in kept] == sorted(t for t in totals if t >= 0.5)[::-1]
    assert collector.consolidate_for_sleep() == [
        record for record in kept if record["salience"]["total"] >= 0.6
    ]
    assert collector.get_collapse_status()["recommendation"] == "normal_operation"


def test_the_file_is_taken_up_by_the_next_session(
    collect: Collect, url: str, tmp_path: Path, tiny_model: Path
) -> None:
    first = collect(url)
    assert first.add_exchange("p", REPLY)["stored"]
    first.close()
    second = collect(url, spool_path=tmp_path / "other.db")
    assert [record["response"] for record in second.experiences] == [REPLY]
    assert second.add_exchange("q", f"{REPLY} So.")["filtered"]
    examples = RaisingTrainingDataBuilder(tmp_path / "buffer.json", tiny_model).build_training_set(
        0.0
    )
    assert len(examples) == 1


def test_two_collectors_on_one_file_lose_nothing(
    collect: Collect, url: str, tmp_path: Path
) -> None:
    first = collect(url)
    second = collect(url, spool_path=tmp_path / "other.db")
    for number in range(4):
        exchange = make_exchange(number)
        (first, second)[number % 2].add_exchange(exchange["prompt"], exchange["response"])
    assert len(json.loads((tmp_path / "buffer.json").read_text("utf-8"))) == 4


def test_file_that_is_no_buffer_is_left_alone(collect: Collect, tmp_path: Path) -> None:
    (tmp_path / "buffer.json").write_text("not a buffer")
    with pytest.raises(InvalidImportFile):
        collect("http://127.0.0.1:9")
    assert (tmp_path / "buffer.json").read_text() == "not a buffer"


def test_what_was_kept_without_a_daemon_reaches_it_later(
    collect: Collect, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    port = free_port()
    collector = collect(f"http://127.0.0.1:{port}")
    added = collector.add_exchange("p", REPLY)
    assert (added["stored"], added["spooled"]) == (True, True)
    start_daemon(port=port, base_model=tmp_path / "none", scheduler_interval_seconds=3600)
    assert collector.flush()
    with SleepClient(f"http://127.0.0.1:{port}") as client:
        assert [item.response for item in client.list_experiences().data] == [REPLY]
