"""The doctor finds what is wrong, says what to do, and mends what is safe to mend."""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.artifacts import directories
from app.clock import new_id
from app.db import checkpoints
from app.db.engine import Database
from app.domain.decision import Trigger
from app.domain.experience import Unfit
from app.domain.finding import Finding
from app.domain.stored import to_json
from app.services import cycle_end, cycle_run, cycles, doctor, registry, sleep
from app.services.stats import collect_stats
from tests.publishing import NOW, aliases, fill, publish
from tests.support import Reopen


@pytest.fixture
def patient(reopen: Reopen, data_dir: Path) -> doctor.Patient:
    data_dir.chmod(0o700)
    return doctor.Patient(
        data_dir=data_dir,
        db=reopen(base_model="owner/hub-id"),
        checkpoints=data_dir / "checkpoints",
        snapshots=data_dir / "snapshots",
        scratch=data_dir / "scratch",
        has_daemon=False,
    )


def checks(findings: list[Finding]) -> list[str]:
    return [f"{item.severity} {item.check}" for item in findings if item.check != "disk"]


def write(db: Database, statement: str) -> None:
    with db.write() as session:
        session.execute(sa.text(statement))


def test_nothing_is_wrong_with_a_data_directory_that_was_used(patient: doctor.Patient) -> None:
    for n in (0, 20):
        publish(patient.db, patient.checkpoints, range(n, n + 20))
    fill(patient.db, range(40, 60))
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    sleep.request_cycle(patient.db, request, now=NOW)
    assert checks(doctor.examine(patient, now=NOW)) == []


def test_what_others_may_look_into_is_found_and_a_group_that_may_is_left(
    patient: doctor.Patient,
) -> None:
    patient.data_dir.chmod(0o750)
    assert checks(doctor.mend(patient, now=NOW)) == ["notice directory"]
    assert patient.data_dir.stat().st_mode & 0o777 == 0o750
    patient.data_dir.chmod(0o755)
    assert checks(doctor.mend(patient, now=NOW)) == ["warning directory"]
    assert patient.data_dir.stat().st_mode & 0o777 == 0o750
    patient.data_dir.chmod(0o700)


@pytest.mark.sqlite_file("its owner and mode")
def test_database_elsewhere_is_closed_to_others(patient: doctor.Patient, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.db"
    shutil.copy(patient.data_dir / "sage-sleep.db", elsewhere)
    elsewhere.chmod(0o644)
    moved = replace(patient, db=Database(f"sqlite:///{elsewhere}", patient.db.defaults))
    assert "warning database" in checks(doctor.mend(moved, now=NOW))
    moved.db.close()
    assert elsewhere.stat().st_mode & 0o007 == 0


def test_what_no_model_could_be_given_is_counted_and_no_fault(patient: doctor.Patient) -> None:
    fill(patient.db, range(20))
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    cycle = sleep.request_cycle(patient.db, request, now=NOW)
    cycle_run.start_cycle(patient.db, cycle.id, worker_id="w", now=NOW)
    unfit = [
        Unfit(experience_id=one, code="exchange-too-long", text="no room")
        for one in cycle.plan.experience_ids[:2]
    ]
    cycle_end.fail_cycle(
        patient.db, cycle.id, worker_id="w", code="nothing-fits", message="", unfit=unfit, now=NOW
    )
    (finding,) = (item for item in doctor.examine(patient, now=NOW) if item.check != "disk")
    assert finding.severity == "notice"
    assert finding.text.startswith("2 experiences of default ")


def test_altered_checkpoint_falls_back_and_one_that_came_back_is_ready(
    patient: doctor.Patient,
) -> None:
    first, second = (publish(patient.db, patient.checkpoints, range(n, n + 20))[0] for n in (0, 20))
    path = patient.checkpoints / registry.get_checkpoint(patient.db, second).row.name
    content = (path / "adapter_config.json").read_text()
    (path / "adapter_config.json").write_text("[]")
    assert checks(doctor.examine(patient, now=NOW)) == ["error checkpoints"]
    assert aliases(patient.db)["current"] == second
    (found,) = doctor.mend(patient, now=NOW)
    assert found.fixed
    assert aliases(patient.db) == {"current": first}
    assert checks(doctor.examine(patient, now=NOW)) == ["warning checkpoints"]
    (path / "adapter_config.json").write_text(content)
    doctor.mend(patient, now=NOW)
    assert registry.get_checkpoint(patient.db, second).row.status == "ready"
    assert checks(doctor.examine(patient, now=NOW)) == []


def test_manifest_that_says_otherwise_than_the_registry_is_found(patient: doctor.Patient) -> None:
    only, _ = publish(patient.db, patient.checkpoints, range(20))
    row = registry.get_checkpoint(patient.db, only).row
    manifest = patient.checkpoints / row.name / "manifest.json"
    manifest.write_text(json.dumps({"files": {"adapter_config.json": {"size_bytes": 1}}}))
    described = directories.describe_file(manifest)
    files = [described if file.name == "manifest.json" else file for file in row.files]
    with patient.db.write() as session:
        session.execute(
            sa.text("UPDATE checkpoints SET files = :files"),
            {"files": json.dumps([to_json(file) for file in files])},
        )
    assert checks(doctor.examine(patient, now=NOW)) == ["error manifests"]


def test_leftovers_are_swept_and_what_nobody_knows_is_set_aside(patient: doctor.Patient) -> None:
    publish(patient.db, patient.checkpoints, range(20))
    directories.stage(patient.checkpoints, "killed")
    (patient.checkpoints / "default" / "9-orphan").mkdir()
    patient.snapshots.mkdir()
    (patient.snapshots / f"{new_id()}.safetensors").touch()
    (patient.scratch / "killed").mkdir(parents=True)
    (found,) = doctor.mend(patient, now=NOW)
    assert found.check == "leftovers"
    assert "4 leftovers" in found.text
    assert checks(doctor.examine(patient, now=NOW)) == ["notice orphans"]
    assert (patient.checkpoints / ".orphans" / "default-9-orphan").is_dir()
    assert list(patient.scratch.glob("*/")) == list(patient.snapshots.iterdir()) == []


def test_what_was_set_aside_and_has_a_row_goes_back_and_is_never_to_be_deleted(
    patient: doctor.Patient,
) -> None:
    only, _ = publish(patient.db, patient.checkpoints, range(20))
    name = registry.get_checkpoint(patient.db, only).row.name
    aside = patient.checkpoints / ".orphans" / name.replace("/", "-")
    aside.parent.mkdir()
    (patient.checkpoints / name).rename(aside)
    (aside.parent / "default-9-orphan").mkdir()
    findings = doctor.examine(patient, now=NOW)
    assert checks(findings) == ["error orphans", "notice orphans"]
    assert not any("delete" in item.remedy for item in findings)
    (fixed, left) = doctor.mend(patient, now=NOW)
    assert (fixed.fixed, left.fixed) == ("1 put back", None)
    assert checks(doctor.examine(patient, now=NOW)) == ["notice orphans"]
    assert (patient.checkpoints / name / "manifest.json").is_file()


def test_same_name_is_set_aside_twice(patient: doctor.Patient) -> None:
    publish(patient.db, patient.checkpoints, range(20))
    for _ in range(2):
        (patient.checkpoints / "default" / "9-orphan").mkdir()
        (patient.checkpoints / "default" / "9-orphan" / "file").touch()
        doctor.mend(patient, now=NOW)
    aside = patient.checkpoints / ".orphans"
    assert {path.name for path in aside.iterdir()} == {"default-9-orphan", "default-9-orphan.2"}


def test_of_a_pair_that_is_none_nothing_is_called_damaged_or_left_over(
    patient: doctor.Patient,
) -> None:
    only, _ = publish(patient.db, patient.checkpoints, range(20))
    away = patient.data_dir / "away"
    patient.checkpoints.rename(away)
    (patient.checkpoints / "default" / "9-of-another").mkdir(parents=True)
    assert checks(doctor.mend(patient, now=NOW)) == ["error pair"]
    assert aliases(patient.db) == {"current": only}
    assert (patient.checkpoints / "default" / "9-of-another").is_dir()


def test_claims_of_no_cycle_are_released_and_totals_counted_again(patient: doctor.Patient) -> None:
    fill(patient.db, range(20))
    (before,) = collect_stats(patient.db, instance=None, now=NOW)
    write(patient.db, "UPDATE experiences SET status = 'claimed' WHERE status = 'buffered'")
    write(patient.db, "UPDATE status_totals SET count = 3, total = 77 WHERE status = 'held_out'")
    assert checks(doctor.examine(patient, now=NOW)) == ["error experiences", "error totals"]
    assert all(item.fixed for item in doctor.mend(patient, now=NOW))
    assert checks(doctor.examine(patient, now=NOW)) == []
    (after,) = collect_stats(patient.db, instance=None, now=NOW)
    assert after.counts == before.counts
    assert after.decision.mass == pytest.approx(before.decision.mass)


def test_cycle_that_nobody_runs_is_queued_again(patient: doctor.Patient) -> None:
    fill(patient.db, range(20))
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    cycle = sleep.request_cycle(patient.db, request, now=NOW)
    cycle_run.start_cycle(patient.db, cycle.id, worker_id="gone", now=NOW)
    assert checks(doctor.examine(patient, now=NOW)) == ["warning sleep_cycles"]
    doctor.mend(patient, now=NOW)
    assert cycles.get_cycle(patient.db, cycle.id)[0].status == "queued"
    write(patient.db, "UPDATE experiences SET status = 'buffered' WHERE status = 'claimed'")
    assert checks(doctor.examine(patient, now=NOW)) == ["error experiences"]


def test_alias_of_a_deleted_checkpoint_falls_back(patient: doctor.Patient) -> None:
    first, second = (publish(patient.db, patient.checkpoints, range(n, n + 20))[0] for n in (0, 20))
    # As a deletion would leave it that forgot the alias.
    with patient.db.write() as session:
        checkpoints.update_checkpoint(session, second, {"status": "deleted", "deleted_at": NOW})
    assert "error aliases" in checks(doctor.examine(patient, now=NOW))
    doctor.mend(patient, now=NOW)
    assert aliases(patient.db) == {"current": first}
    assert checks(doctor.examine(patient, now=NOW)) == []


@pytest.mark.sqlite_file("PostgreSQL lets no reference break")
def test_broken_reference_is_an_error_that_is_not_mended(patient: doctor.Patient) -> None:
    assert patient.db.path is not None
    connection = sqlite3.connect(patient.db.path)
    connection.execute(
        "INSERT INTO aliases VALUES (1, 'current', 'nobody', '2026-01-18T00:00:00+00:00')"
    )
    connection.commit()
    connection.close()
    (found,) = doctor.mend(patient, now=NOW)
    assert found.check == "references"
    assert found.fixed is None


def test_settings_that_cannot_be_used_are_named(patient: doctor.Patient) -> None:
    write(patient.db, """UPDATE instances SET policy = '{"max_experiences": 9999}'""")
    (found,) = [item for item in doctor.examine(patient, now=NOW) if item.check == "settings"]
    assert "policy.max_experiences" in found.text
