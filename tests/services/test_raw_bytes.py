"""After erasing, no file of the data directory holds a byte of the text."""

from __future__ import annotations

import math
import random
import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from app.clock import utc_now
from app.db.copies import keep_before_change, list_copies
from app.db.engine import SCHEMA_REVISION, Database
from app.db.tables import ExperienceRow
from app.domain.decision import Trigger
from app.domain.exchange import Exchange
from app.domain.experience import Lesson
from app.domain.verbatim import REMOVED
from app.services import erasure, retention, sleep
from app.services.erasure import erase_experience
from app.services.ingest import Submission, ingest_many
from app.services.lessons import keep_lessons
from tests.publishing import NOW, end, fill, publish, report
from tests.support import Reopen, make_exchange, migrate_again

pytestmark = pytest.mark.sqlite_file("the bytes of the file and of its log")

SECRET = "the harbour master hid a brass key beneath the ninth step"


def secret(number: int) -> str:
    return f"{SECRET} {number:05d}."


def ingest(db: Database, number: int, filler: int = 0) -> str:
    exchange = make_exchange(number)
    exchange["prompt"] += f" And {secret(number)}"
    exchange["response"] += " " + "further " * filler + secret(number)
    exchange["history"] = [{"role": "user", "content": secret(number)}]
    exchange["metadata"] = {"note": secret(number)}
    submission = Submission(exchange=Exchange(**exchange))
    (result,) = ingest_many(db, [submission], now=NOW)
    assert result.experience is not None
    experience_id: str = result.experience["id"]
    lesson = Lesson(question=secret(number), answer=secret(number), teacher="large", cycle=1)
    keep_lessons(db, experience_id, [lesson])
    return experience_id


def files_that_hold(data_dir: Path, text: str) -> list[str]:
    return [
        str(path.relative_to(data_dir))
        for path in sorted(data_dir.rglob("*"))
        if path.is_file() and text.encode() in path.read_bytes()
    ]


def purge(db: Database, data_dir: Path) -> bool:
    return erasure.purge_traces(
        db, kept_root=data_dir / "kept", snapshots_root=data_dir / "snapshots"
    )


@pytest.mark.parametrize("filler", [0, 40, 600], ids=["short", "page", "overflow"])
def test_erased_rows_that_grew_and_moved_leave_no_byte(
    db: Database, data_dir: Path, filler: int
) -> None:
    rng = random.Random(filler)  # noqa: S311  # reproducible, not secret
    ids = [ingest(db, n, rng.randrange(filler + 1)) for n in range(150)]
    for status in ("claimed", "consolidated", "quarantined", "buffered"):
        for experience_id in rng.sample(ids, 100):
            with db.write() as session:
                session.execute(
                    sa.update(ExperienceRow)
                    .where(ExperienceRow.id == experience_id)
                    .values(status=status, reason="r" * rng.randrange(200))
                )
    with db.write() as session:
        session.execute(sa.update(ExperienceRow).values(status="buffered"))
    assert files_that_hold(data_dir, secret(7))
    erased = rng.sample(range(150), 30)
    for number in erased:
        erase_experience(db, ids[number], now=NOW)
    assert purge(db, data_dir)
    assert [number for number in erased if files_that_hold(data_dir, secret(number))] == []
    kept = next(number for number in range(150) if number not in erased)
    assert files_that_hold(data_dir, secret(kept)) == ["sage-sleep.db"]


def test_report_with_a_figure_that_is_not_finite_hinders_no_erasing(
    db: Database, data_dir: Path
) -> None:
    """SQLite before 3.42 refuses to look into JSON with a `NaN` in it."""
    experience_id = ingest(db, 99)
    fill(db, range(20))
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    cycle = sleep.request_cycle(db, request, now=NOW)
    odd = replace(report(2.0, reply=secret(99)), loss_curve=(2.0, math.nan, math.inf))
    end(db, data_dir / "checkpoints", cycle, odd)
    with db.read() as session:
        stored = session.scalar(sa.text("SELECT metrics FROM sleep_cycles"))
        assert session.scalar(sa.select(sa.func.json_valid(stored))) == 1
    # As a version before this wrote it.
    with db.write() as session:
        broken = "UPDATE sleep_cycles SET metrics = replace(metrics, 'null', 'NaN')"
        session.execute(sa.text(broken))
    migrate_again(db, "0013")
    erase_experience(db, experience_id, now=NOW)
    assert purge(db, data_dir)
    assert files_that_hold(data_dir, secret(99)) == []


def test_nothing_is_left_in_reports_snapshots_kept_measures_copies_or_checkpoints(
    db: Database, data_dir: Path
) -> None:
    root = data_dir / "checkpoints"
    fill(db, range(20))
    experience_id = ingest(db, 99)
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    cycle = sleep.request_cycle(db, request, now=NOW)
    with db.read() as session:
        words = session.scalar(
            sa.select(ExperienceRow.response).where(ExperienceRow.id == experience_id)
        )
    end(db, root, cycle, report(2.0, reply=f"I said: {words}"))
    (data_dir / "kept" / "base").mkdir(parents=True)
    (data_dir / "kept" / "base" / "measures-1.json").write_text(secret(99))
    (data_dir / "snapshots").mkdir()
    (data_dir / "snapshots" / f"{cycle.id}.safetensors").write_text(secret(99))
    with db.write() as session:
        session.execute(sa.text("UPDATE alembic_version SET version_num = '0002'"))
    assert keep_before_change(db, now=NOW) is not None
    with db.write() as session:
        wanted = {"r": SCHEMA_REVISION}
        session.execute(sa.text("UPDATE alembic_version SET version_num = :r"), wanted)
    assert len(files_that_hold(data_dir, secret(99))) >= 4
    erase_experience(db, experience_id, now=NOW)
    assert purge(db, data_dir)
    assert files_that_hold(data_dir, SECRET) == []
    assert list_copies(data_dir / "sage-sleep.db") == []
    connection = sqlite3.connect(data_dir / "sage-sleep.db")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def conversation(db: Database, *turns: tuple[str, str], **values: Any) -> list[str]:
    """Post exchanges of one session, each with all before it as history; their ids."""
    history: list[dict[str, str]] = []
    ids = []
    for prompt, response in turns:
        sent = Exchange(prompt=prompt, response=response, history=list(history), **values)
        (result,) = ingest_many(db, [Submission(exchange=sent)], now=NOW)
        assert result.experience is not None
        ids.append(result.experience["id"])
        history += [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": response},
        ]
    return ids


def test_histories_lose_what_was_erased_and_nothing_else(db: Database, data_dir: Path) -> None:
    asked, told = f"Can you keep it? {SECRET}.", f"Yes: {SECRET.upper()}, and nobody knows of it."
    other = ("What is the kettle for?", "We boil water in it and call it an evening.")
    first, erased, *later = conversation(
        db, other, (asked, told), *((f"{n}?", f"{n}!") for n in range(3))
    )
    done = erase_experience(db, erased, now=NOW)
    assert purge(db, data_dir)
    assert files_that_hold(data_dir, SECRET) == []
    assert files_that_hold(data_dir, SECRET.upper()) == []
    assert (done.taken_from, done.erased_with, done.repeated_in) == (later, [], [])
    with db.read() as session:
        (held,) = session.scalars(sa.select(ExperienceRow).where(ExperienceRow.id == later[1]))
    contents = [turn["content"] for turn in held.history]
    assert contents == [*other, REMOVED, REMOVED, "0?", "0!"]
    assert erase_experience(db, first, now=NOW).taken_from == later


@pytest.mark.parametrize(
    "carried",
    [
        {"system_prompt": f"You know this of him. {SECRET}, he said."},
        {"metadata": {"log": [{"text": f"> {SECRET}"}]}},
        {"metadata": {SECRET: 1}},
        {"tool_calls": [{"name": "recall", "result": {"found": SECRET}}]},
        {"tool_calls": [{"name": "recall", "arguments": {"q": SECRET}}]},
        {"history": [{"role": "system", "content": f"Before: User: {SECRET}\nSAGE: Good."}]},
        {"history": [{"role": "tool", "content": SECRET.replace(" ", "\n")}]},
        {"history": [{"role": "user", "content": SECRET[:-10]}]},
        {"response": f"You told me that {SECRET}."},
        {"prompt": f"You said that {SECRET}?", "response": "Yes."},
    ],
)
def test_whatever_copies_what_was_erased_goes(
    db: Database, data_dir: Path, carried: dict[str, Any]
) -> None:
    (erased,) = conversation(db, (SECRET, f"I shall remember: {SECRET}."))
    turn = {"prompt": "What now?", "response": "Now we wait.", **carried}
    sent = Submission(exchange=Exchange(**turn))
    (result,) = ingest_many(db, [sent], now=NOW)
    assert result.experience is not None
    done = erase_experience(db, erased, now=NOW)
    assert purge(db, data_dir)
    assert files_that_hold(data_dir, SECRET[:-10]) == []
    holder = result.experience["id"]
    assert [*done.taken_from, *done.erased_with, *done.repeated_in] == [holder]
    (again,) = ingest_many(db, [sent], now=NOW)
    assert again.outcome == "duplicate"


def test_text_that_expired_leaves_no_byte(reopen: Reopen, data_dir: Path) -> None:
    db = reopen(policy={"retain_text_days": 30})
    ingest(db, 5)
    publish(db, data_dir / "checkpoints", range(20, 40))
    later = NOW + timedelta(days=31)
    while retention.remove_expired_texts(db, "default", now=later):
        pass
    assert purge(db, data_dir)
    assert files_that_hold(data_dir, SECRET) == []


def test_reader_of_an_older_state_postpones_the_purge_and_no_longer(
    db: Database, data_dir: Path
) -> None:
    experience_id = ingest(db, 1)
    reader = sqlite3.connect(data_dir / "sage-sleep.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM experiences").fetchone()
    erase_experience(db, experience_id, now=utc_now())
    assert not purge(db, data_dir)
    reader.close()
    db.finish_purge()
    assert files_that_hold(data_dir, SECRET) == []


def test_what_an_active_cycle_would_go_on_from_stays(db: Database, data_dir: Path) -> None:
    fill(db, range(20))
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    cycle = sleep.request_cycle(db, request, now=NOW)
    snapshots = data_dir / "snapshots"
    snapshots.mkdir()
    for name in (f"{cycle.id}.safetensors", f".{cycle.id}.safetensors.part", "dead.safetensors"):
        (snapshots / name).touch()
    purge(db, data_dir)
    assert {path.name for path in snapshots.iterdir()} == {
        f"{cycle.id}.safetensors",
        f".{cycle.id}.safetensors.part",
    }
