"""Import of files that people have: what they hold is kept, twice is once, the rest is named."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from app.db.engine import Database
from app.db.tables import ExperienceRow
from app.services.experiences import list_experiences
from tests.support import RunningDaemon, make_exchange, run_command

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


def test_buffer_goes_in_and_twice_changes_nothing(data_dir: Path) -> None:
    content = {"experiences": [record(n) for n in range(12)]}
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


def test_slug_that_would_be_a_path_is_refused(data_dir: Path) -> None:
    options = ("--instance", "../../../escape", "--create")
    assert "is no slug" in run_import(data_dir, [record(1)], *options, check=False)["error"]


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


FILES = Path(__file__).parents[1] / "imports" / "files"


def import_files(
    data_dir: Path, *arguments: str | Path, check: bool = True
) -> subprocess.CompletedProcess[str]:
    return run_command(
        "import",
        *map(str, arguments),
        environment={"SAGE_DATA_DIR": str(data_dir), "COLUMNS": "200"},
        check=check,
    )


def count_experiences(db: Database) -> int:
    with db.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(ExperienceRow)) or 0


def test_files_of_all_formats_go_in_once_and_say_what_is_left_out(
    data_dir: Path, db: Database
) -> None:
    files = sorted(path for path in FILES.iterdir() if path.stem not in {"letters", "unknown"})
    looked = json.loads(import_files(data_dir, *files, "--dry-run", "--json").stdout)
    assert (looked["found"], looked["inserted"], count_experiences(db)) == (33, 0, 0)
    done = json.loads(import_files(data_dir, *files, "--json").stdout)
    assert done["inserted"] == count_experiences(db) == 32  # two say the same
    assert done["by_format"] == looked["by_format"]
    assert done["by_format"]["transcript"] == 8
    assert {(b["file"], b["index"]) for b in done["broken"]} == {
        ("alpaca.json", 3), ("chatgpt.json", 1), ("openai.jsonl", 3), ("sharegpt.json", 2),
    }  # fmt: skip
    again = json.loads(import_files(data_dir, *files, "--json").stdout)
    assert (again["inserted"], again["duplicate"], count_experiences(db)) == (0, 33, 32)


def test_times_without_a_zone_are_said_to_be_utc(data_dir: Path) -> None:
    done = import_files(data_dir, FILES / "experience_buffer.json", FILES / "session_044.json")
    assert "4 times have no zone and were taken as UTC" in done.stderr
    assert "--timezone Europe/Lisbon" in done.stderr
    named = import_files(data_dir, FILES / "experience_buffer.json", "--timezone", "UTC")
    assert "no zone" not in named.stderr
    aware = import_files(data_dir, FILES / "chat_history.jsonl")
    assert "no zone" not in aware.stderr


def test_unknown_file_is_refused_with_the_formats_that_can_be_read(
    data_dir: Path, db: Database
) -> None:
    good, bad = FILES / "alpaca.json", FILES / "unknown.json"
    refused = import_files(data_dir, good, bad, check=False)
    assert refused.returncode == 1
    assert "unknown.json holds nothing that can be read" in refused.stderr
    assert "ShareGPT" in refused.stderr
    assert count_experiences(db) == 0  # nothing of the good one either


def test_file_that_breaks_off_leaves_nothing_behind(
    data_dir: Path, db: Database, tmp_path: Path
) -> None:
    path = tmp_path / "cut.json"
    path.write_text(json.dumps([record(n) for n in range(600)])[:-1])
    refused = import_files(data_dir, path, check=False)
    assert "the list has no end" in refused.stderr
    assert count_experiences(db) == 0


def test_own_export_goes_into_another_instance_as_it_was(
    daemon: RunningDaemon, tmp_path: Path
) -> None:
    environment = {
        "SAGE_DATA_DIR": str(daemon.data_dir),
        "SAGE_PORT": str(daemon.http.base_url.port),
    }
    path = tmp_path / "out.jsonl"
    run_command("export", str(path), environment=environment)
    done = json.loads(
        run_command(
            "import", str(path), "-i", "copy", "--create", "--json", environment=environment
        ).stdout
    )
    assert (done["inserted"], done["broken_count"], done["by_format"]) == (20, 0, {"export": 20})
    shown = {}
    for slug in ("default", "copy"):
        data = daemon.http.get("/v1/experiences", params={"instance": slug, "limit": 50}).json()
        same = ("prompt", "response", "session", "history", "metadata", "tool_calls", "salience")
        shown[slug] = {item["prompt"]: [item[name] for name in same] for item in data["data"]}
    assert shown["copy"] == shown["default"]
    again = json.loads(run_command("import", str(path), "--json", environment=environment).stdout)
    assert (again["inserted"], again["duplicate"]) == (0, 20)
