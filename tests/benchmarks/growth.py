"""What breaks first at 10, 1,000 and 100,000 instances: constants measured here, and arithmetic.

python -m tests.benchmarks.growth [--base-model DIRECTORY | --cycle-seconds 60] [...]

Every demand grows in proportion to the number of instances, so each resource has one constant, a
strain (1.0: all of it is used) and a number of instances at which it breaks. The measurements are
real: the daemon over a socket, the migrated schema, one real sleep cycle with the base model.
`strain_of` and what follows from it are pure.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from app.clock import utc_now
from app.db.engine import Database
from app.domain.instance import EMBEDDED_MODEL_NAME
from app.services import decisions, retention
from app.settings import Settings
from tests.benchmarks.load import run_load
from tests.benchmarks.prepared import prepared_posts
from tests.benchmarks.test_ingest_speed import exchange
from tests.publishing import publish
from tests.support import RunningDaemon, free_port, make_exchange, run_command, wait_until_up

SIZES = (10, 1_000, 100_000)
DAY = 86_400.0
MEASURED_INSTANCES = 100_000
PAGE = 100
STORED = 3000
CYCLE_EXPERIENCES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """What one instance does and what the machine has; assumptions, each an option.

    `kept_checkpoints`: `retain_checkpoints`, the best, and the parents of it and of the oldest.
    """

    exchanges_per_day: float = 100.0
    cycles_per_day: float = 2.0
    peak_factor: float = 10.0
    scheduler_interval_seconds: float = 30.0
    scrape_seconds: float = 15.0
    page_seconds: float = 1.0
    disk_gb: float = 256.0
    disk_days: float = 365.0
    kept_checkpoints: float = 13.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Constants:
    """What was measured; the names carry the units."""

    cycle_seconds: float
    checkpoint_bytes: float
    bytes_per_cycle: float
    bytes_per_experience: float
    posts_per_second: float
    scheduler_seconds_per_instance: float
    stats_seconds_per_instance: float
    metrics_seconds_per_instance: float
    instance_list_seconds_per_instance: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Strain:
    """One resource: how much of it so many instances use, and how many use all of it."""

    resource: str
    used: float
    breaks_at: float


def strain_of(constants: Constants, workload: Workload, instances: int) -> list[Strain]:
    """The strain on every resource, the greatest first."""
    cycles = workload.cycles_per_day * workload.disk_days
    exchanges = workload.exchanges_per_day * workload.disk_days
    disk_bytes = (
        exchanges * constants.bytes_per_experience
        + cycles * constants.bytes_per_cycle
        + min(cycles, workload.kept_checkpoints) * constants.checkpoint_bytes
    )
    per_instance = {
        "training slot": workload.cycles_per_day * constants.cycle_seconds / DAY,
        "disk": disk_bytes / (workload.disk_gb * 1e9),
        "ingest at peak": workload.exchanges_per_day
        * workload.peak_factor
        / (DAY * constants.posts_per_second),
        "scheduler": constants.scheduler_seconds_per_instance / workload.scheduler_interval_seconds,
        "/stats, all pages": constants.stats_seconds_per_instance / workload.scrape_seconds,
        "/metrics": constants.metrics_seconds_per_instance / workload.scrape_seconds,
        "GET /v1/instances": constants.instance_list_seconds_per_instance / workload.page_seconds,
    }
    found = [
        Strain(
            resource=name, used=share * instances, breaks_at=1 / share if share else float("inf")
        )
        for name, share in per_instance.items()
    ]
    return sorted(found, key=lambda strain: -strain.used)


def table(constants: Constants, workload: Workload, sizes: tuple[int, ...] = SIZES) -> str:
    """The strains as text: a column per size, what breaks first on top."""
    columns = [{s.resource: s for s in strain_of(constants, workload, size)} for size in sizes]
    head = f"{'resource':20}" + "".join(f"{f'{size:,}':>12}" for size in sizes) + f"{'full at':>14}"
    lines = [head]
    for strain in strain_of(constants, workload, sizes[-1]):
        used = "".join(f"{in_percent(column[strain.resource].used):>12}" for column in columns)
        lines.append(f"{strain.resource:20}{used}{strain.breaks_at:>14,.0f}")
    for size in sizes:
        first = strain_of(constants, workload, size)[0]
        word = "breaks first" if first.used >= 1 else "nothing breaks; fullest"
        lines.append(f"{size:>7,} instances: {word}: {first.resource}, {in_percent(first.used)}")
    return "\n".join(lines)


def in_percent(share: float) -> str:
    """A share as it is read: three digits at most below 1,000 %."""
    return f"{100 * share:,.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


@contextmanager
def running_daemon(directory: Path, **settings: Any) -> Iterator[RunningDaemon]:
    """A daemon on a data directory."""
    port = free_port()
    environment = {"SAGE_DATA_DIR": str(directory), "SAGE_PORT": str(port)}
    environment |= {f"SAGE_{name.upper()}": str(value) for name, value in settings.items()}
    log_path = directory / "daemon.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve"],
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
        )
    http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
    daemon = RunningDaemon(process, http, directory, log_path)
    try:
        wait_until_up(daemon)
        yield daemon
    finally:
        http.close()
        daemon.stop()


def measure_ingest(directory: Path) -> tuple[float, float]:
    """Bytes on disk per experience, and durable posts per second."""
    path = directory / "sage-sleep.db"
    with running_daemon(directory, mass_threshold=1e9) as daemon:
        empty = path.stat().st_size
        for start in range(0, STORED, 500):
            batch = [exchange(number) for number in range(start, start + 500)]
            daemon.http.post("/v1/experiences/batch", json=batch).raise_for_status()
        size = emptied_size(path)
        port = daemon.http.base_url.port
        assert port is not None
        load = run_load(port, prepared_posts(STORED, 40_000), connections=16, seconds=5.0)
    return (size - empty) / STORED, load.rate


def measure_cycle(directory: Path, base_model: Path) -> tuple[float, float, float]:
    """Seconds of one cycle of `CYCLE_EXPERIENCES`, bytes of its checkpoint, and in the database.

    What is in the database is counted without the cycle's progress, which goes a day later.
    """
    path = directory / "sage-sleep.db"
    with running_daemon(directory, mass_threshold=1e9, base_model=base_model) as daemon:
        batch = [make_exchange(number) for number in range(2 * CYCLE_EXPERIENCES)]
        daemon.http.post("/v1/experiences/batch", json=batch).raise_for_status()
        before = used_bytes(path)
        asked = {"force": True, "overrides": {"max_experiences": CYCLE_EXPERIENCES}}
        started = time.perf_counter()
        cycle = daemon.http.post("/v1/sleep-cycles", json=asked).raise_for_status().json()
        ended = daemon.wait_for_cycle(cycle["id"])
        seconds = time.perf_counter() - started
        if ended["status"] not in {"succeeded", "rejected"}:
            raise SystemExit(f"the cycle {ended['status']}: {ended['error']}")
        size = sum(f.stat().st_size for f in (directory / "checkpoints").rglob("*") if f.is_file())
    database = Database(f"sqlite:///{path}", Settings().instance_defaults())
    later = utc_now() + timedelta(days=2)
    while retention.remove_old_progress(database, "default", now=later):
        pass
    database.close()
    grown = used_bytes(path) - before
    return seconds, float(size), float(grown)


def emptied_size(path: Path) -> int:
    """Size of a database file with all of its log in it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.stat().st_size


def used_bytes(path: Path) -> int:
    """Bytes of a database file that hold something."""
    with closing(sqlite3.connect(path)) as connection:
        pages, free, page_bytes = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
    return int((pages - free) * page_bytes)


def measure_instances(directory: Path) -> Mapping[str, float]:
    """Seconds per instance of what looks at all instances.

    What answers with all of them at once is asked with a tenth of `MEASURED_INSTANCES`.
    """
    path = directory / "sage-sleep.db"
    now, defaults = utc_now(), Settings().instance_defaults()
    tenth = MEASURED_INSTANCES // 10
    database = Database(f"sqlite:///{path}", defaults)
    publish(database, directory / "checkpoints", range(CYCLE_EXPERIENCES))
    database.close()
    add_instances(path, range(tenth))
    with running_daemon(directory, mass_threshold=1e9) as daemon:
        found = {
            "metrics": seconds_of(lambda: daemon.http.get("/metrics").raise_for_status()) / tenth,
            "list": seconds_of(lambda: daemon.http.get("/v1/instances").raise_for_status()) / tenth,
        }
    add_instances(path, range(tenth, MEASURED_INSTANCES))
    with running_daemon(directory, mass_threshold=1e9) as daemon:
        found["stats"] = seconds_of(lambda: daemon.http.get("/stats").raise_for_status()) / PAGE
    database = Database(f"sqlite:///{path}", defaults)
    scheduler = seconds_of(lambda: decisions.list_due(database, slugs=None, now=now))
    database.close()
    return {**found, "scheduler": scheduler / MEASURED_INSTANCES}


def add_instances(path: Path, numbers: range) -> None:
    """Instances that wait for more mass: the totals of a hundred experiences, the first's cycle."""
    with closing(sqlite3.connect(path)) as connection:
        copied = "policy, recipe, last_cycle_number, created_at, updated_at"
        connection.executemany(
            f"INSERT INTO instances (slug, {copied}) SELECT ?, {copied} FROM instances "  # noqa: S608  # columns
            "WHERE id = 1",
            ((f"machine{number:06}",) for number in numbers),
        )
        cycles = connection.execute("SELECT * FROM sleep_cycles LIMIT 0").description
        copied = ", ".join(name for name, *_ in cycles if name not in {"seq", "id", "instance_id"})
        connection.execute(
            f"INSERT INTO sleep_cycles (id, instance_id, {copied}) "  # noqa: S608  # columns
            f"SELECT printf('%026d', new), new, {copied} FROM (SELECT id AS new FROM instances), "
            f"(SELECT {copied} FROM sleep_cycles WHERE instance_id = 1) "
            "WHERE new NOT IN (SELECT instance_id FROM sleep_cycles)"
        )
        connection.executemany(
            "INSERT OR IGNORE INTO status_totals SELECT id, ?, ?, ?, 0, 0, 0, 0, 0 FROM instances",
            (("buffered", 9, 6.0), ("held_out", 1, 0.6), ("consolidated", 90, 60.0)),
        )
        connection.commit()


def seconds_of(work: Callable[[], Any]) -> float:
    """The median of three, after one that is not counted."""
    work()
    taken: list[float] = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return median(taken)


def main() -> None:
    """Measure, calculate, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-model", type=Path)
    parser.add_argument("--cycle-seconds", type=float, help="instead of running a cycle")
    parser.add_argument("--checkpoint-bytes", type=float, help="with --cycle-seconds")
    parser.add_argument("--bytes-per-cycle", type=float, help="with --cycle-seconds")
    for field in fields(Workload):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=float, default=field.default)
    options = parser.parse_args()
    workload = Workload(**{field.name: getattr(options, field.name) for field in fields(Workload)})
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for part in ("ingest", "cycle", "instances"):
            (root / part).mkdir()
        run_command("migrate", environment={"SAGE_DATA_DIR": str(root / "ingest")})
        for part in ("cycle", "instances"):
            shutil.copy(root / "ingest" / "sage-sleep.db", root / part)
        bytes_each, posts = measure_ingest(root / "ingest")
        if options.cycle_seconds is not None:
            sizes = (options.checkpoint_bytes or 0.0, options.bytes_per_cycle or 0.0)
            cycle = (options.cycle_seconds, *sizes)
        else:
            known = Settings().models_dir / EMBEDDED_MODEL_NAME
            cycle = measure_cycle(root / "cycle", options.base_model or known)
        each = measure_instances(root / "instances")
    constants = Constants(
        cycle_seconds=cycle[0],
        checkpoint_bytes=cycle[1],
        bytes_per_cycle=cycle[2],
        bytes_per_experience=bytes_each,
        posts_per_second=posts,
        scheduler_seconds_per_instance=each["scheduler"],
        stats_seconds_per_instance=each["stats"],
        metrics_seconds_per_instance=each["metrics"],
        instance_list_seconds_per_instance=each["list"],
    )
    print(json.dumps({k: float(f"{v:.3g}") for k, v in asdict(constants).items()}, indent=2))
    print(json.dumps(asdict(workload), indent=2))
    print(table(constants, workload))


if __name__ == "__main__":
    main()
