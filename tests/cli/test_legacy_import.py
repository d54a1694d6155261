"""Import of older buffer files: what they hold is kept, twice is once, broken records are named."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.db.engine import Database
from app.services.experiences import list_experiences
from tests.support import make_exchange, run_command

SALIENCE = {"surprise": 1.0, "novelty": 0.8, "arousal": 0.6, "reward": 0.4, "conflict": 0.2}


def record(number: int, **values: Any) -> dict[str, Any]:
    exchange = make_exchange(number)
    return {
        "id": f"old-{number}",
        "prompt": exchange["prompt"],
        "response": exchange["response"],
        "salience": {**SALIENCE, "total": 0.6},
        "session": 22,
        "phase": "relating",
        "timestamp": "2026-07-18T00:10:43.092734",
        "metadata": {"turn": number},
        **values,
    }


def run_import(data_dir: Path, content: Any, *options: str, check: bool = True) -> dict[str, Any]:
    path = data_dir / "experience_buffer.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    result = run_command(
        "import",
        str(path),
        "--json",
        *options,
        environment={"SAGE_DATA_DIR": str(data_dir)},
        check=check,
    )
    answer: dict[str, Any] = json.loads(result.stdout) if check else {"error": result.stderr}
    return answer


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_list_or_object_goes_in_and_twice_changes_nothing(
    data_dir: Path, *, is_wrapped: bool
) -> None:
    records = [record(n) for n in range(12)]
    content = {"experiences": records} if is_wrapped else records
    assert run_import(data_dir, content)["inserted"] == 12
    again = run_import(data_dir, content)
    assert (again["inserted"], again["duplicate"], again["broken"]) == (0, 12, [])


def test_salience_session_phase_and_local_time_are_kept(data_dir: Path, db: Database) -> None:
    run_import(data_dir, [record(1)], "--timezone", "America/Los_Angeles")
    page, _ = list_experiences(
        db,
        instance="default",
        status=None,
        session_name=None,
        session_number=22,
        phase="relating",
        min_total=None,
        text=None,
        cursor=None,
        limit=5,
    )
    (row,) = page.rows
    assert {name: getattr(row, name) for name in SALIENCE} == SALIENCE
    assert row.scorer == "caller"
    assert row.source_id == "old-1"
    assert row.extra == {"turn": 1}
    assert row.occurred_at == datetime(2026, 7, 18, 7, 10, 43, 92734, tzinfo=UTC)


def test_broken_records_are_named_and_the_rest_goes_in(data_dir: Path) -> None:
    records = [
        record(0),
        "not an object",
        record(2, response=""),
        record(3, salience={"surprise": 7}),
        record(4, timestamp="yesterday"),
        record(5),
        record(6, id="old-5"),
    ]
    answer = run_import(data_dir, records)
    assert answer["inserted"] == 2
    assert [broken["index"] for broken in answer["broken"]] == [1, 2, 3, 4, 6]
    assert answer["broken"][1]["pointer"] == "/response"


@pytest.mark.parametrize("content", ["{", '{"a": 1}', "3", "[" * 100_000])
def test_file_that_is_no_buffer_is_refused(data_dir: Path, content: str) -> None:
    assert "experience_buffer.json" in run_import(data_dir, content, check=False)["error"]


def test_slug_that_would_be_a_path_is_refused(data_dir: Path) -> None:
    options = ("--instance", "../../../escape", "--create")
    assert "is no slug" in run_import(data_dir, [record(1)], *options, check=False)["error"]


def test_instant_out_of_range_is_one_broken_record(data_dir: Path) -> None:
    records = [record(1, timestamp="0001-01-01T00:00:00+14:00"), record(2)]
    answer = run_import(data_dir, records)
    assert (answer["inserted"], answer["broken"][0]["index"]) == (1, 0)


def test_unknown_instance_and_zone_say_what_to_do(data_dir: Path) -> None:
    error = run_import(data_dir, [record(1)], "--instance", "nobody", check=False)["error"]
    assert "PUT /v1/instances/nobody" in error
    assert "Europe/Lisbon" in run_import(data_dir, [], "--timezone", "Mars", check=False)["error"]
    answer = run_import(data_dir, [record(1)], "--instance", "sprout", "--create")
    assert answer["inserted"] == 1


def test_every_real_exchange_goes_in_as_it_is(data_dir: Path, shared_data: Path) -> None:
    content = (shared_data / "exchanges-gemma3-12b.json").read_text()
    answer = run_import(data_dir, content)
    assert answer["broken"] == []
    assert answer["inserted"] + answer["duplicate"] == 323
    assert run_import(data_dir, content)["inserted"] == 0
