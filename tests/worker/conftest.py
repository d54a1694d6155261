"""Fixtures of the worker's tests: cycles run here, in this process, on a tiny model."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.db.engine import Database
from app.db.tables import SleepCycleRow
from app.domain.decision import Trigger
from app.domain.exchange import Exchange
from app.domain.progress import CycleStatus
from app.domain.reproduction import Reproduction
from app.runtimes.teacher import Teacher
from app.services import cycles, sleep
from app.services.ingest import Submission, ingest_many
from app.settings import Settings
from app.training.trainer import LoraTrainer
from app.worker import experiment
from app.worker.cycle import run_cycle
from tests.publishing import NOW
from tests.support import changed, make_exchange
from tests.tiny import LOOSE


@pytest.fixture
def data_dir(request: pytest.FixtureRequest, data_dir: Path, kept: Path) -> Path:
    """As everywhere; where daemons train the tiny model, with what is known of it."""
    if "tiny_model" in request.fixturenames:
        (data_dir / "kept").symlink_to(kept)
    return data_dir


@dataclass
class Place:
    """A data directory whose cycles train the tiny model in this process."""

    db: Database
    settings: Settings
    tensorboard_dir: Path | None = None
    max_export_bytes: int | None = None
    teacher: Callable[[], Teacher] | None = None

    def restart(self, **changes: Any) -> None:
        """Open the database again, with changed defaults."""
        self.db.close()
        self.db = Database(str(self.db.url), changed(self.db.defaults, **changes))

    def fill(self, numbers: range, instance: str = "default", **values: Any) -> None:
        """Take in a salient exchange for each number."""
        exchanges = [make_exchange(n, instance=instance, **values) for n in numbers]
        items = [Submission(exchange=Exchange(**exchange)) for exchange in exchanges]
        ingest_many(self.db, items, now=NOW)

    def sleep(self, instance: str = "default", **changes: Any) -> SleepCycleRow:
        """Run one cycle to its end; `changes` replace parts of its request."""
        request = sleep.CycleRequest(
            **{"instance": instance, "trigger": Trigger.REQUEST, "is_forced": True, **changes}
        )
        cycle = sleep.request_cycle(self.db, request, now=NOW)
        status = run_cycle(
            cycle.id,
            db=self.db,
            root=self.settings.checkpoints_dir,
            kept_directory=self.settings.kept_dir,
            tensorboard_directory=self.tensorboard_dir,
            max_export_bytes=self.max_export_bytes,
            teacher=self.teacher,
            trainer=LoraTrainer(),
            stop=threading.Event(),
        )
        ended = cycles.get_cycle(self.db, cycle.id)[0]
        assert status == CycleStatus(ended.status), ended.error
        return ended


def make_again(place: Place, wanted: str) -> Reproduction:
    """Train a checkpoint of this name or id once more, undisturbed, and compare the bytes."""
    root = place.settings.checkpoints_dir
    prepared = experiment.prepare_reproduction(place.db, wanted, root=root)
    with experiment.experiment_room(place.settings.scratch_dir, place.settings.kept_dir) as room:
        return experiment.reproduce(
            prepared,
            room,
            root=root,
            gate=place.db.defaults.gate,
            trainer=LoraTrainer(),
            on_progress=lambda _progress: None,
            should_stop=lambda: False,
        )


@contextmanager
def entered(data_dir: Path) -> Iterator[Place]:
    """The place that a daemon left behind, with the settings' defaults."""
    settings = Settings(data_dir=data_dir)
    with closing(Database(settings.effective_database_url, settings.instance_defaults())) as db:
        yield Place(db, settings)


@pytest.fixture(scope="session")
def make_place(
    tiny_model: Path, migrated_file: Path, kept: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Place]]:
    """Make places with an empty database, a loose gate and a recipe that the tiny model feels."""
    made: list[Place] = []

    def make() -> Place:
        data_dir = tmp_path_factory.mktemp("place")
        shutil.copy(migrated_file, data_dir / "sage-sleep.db")
        settings = Settings(data_dir=data_dir, base_model=str(tiny_model))
        settings.kept_dir.symlink_to(kept)
        defaults = changed(
            settings.instance_defaults(),
            gate=LOOSE,
            recipe={"learning_rate": 5e-3, "r": 4, "lora_alpha": 8, "epochs": 1},
        )
        made.append(Place(Database(settings.effective_database_url, defaults), settings))
        return made[-1]

    yield make
    for place in made:
        place.db.close()
