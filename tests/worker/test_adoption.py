"""A checkpoint of another machine: pulled, judged by the gate here, and adopted or refused."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.db.tables import SleepCycleRow
from app.domain.checkpoint import ADAPTER_FILE, CONFIG_FILE, MANIFEST_FILE
from app.domain.progress import CycleStatus
from app.errors import (
    BaseDiffers,
    CheckpointHere,
    CheckpointNotFound,
    CheckpointNotReproducible,
    InstanceForbidden,
    NothingToJudgeBy,
    RuntimeUnavailable,
    SleepCycleActive,
)
from app.runtimes.rclone import find_rclone
from app.services import cycles, sleep
from app.services.decisions import get_decision
from app.services.file_guard import FileGuard
from app.services.instances import put_instance
from app.services.mirroring import Mirrored
from app.services.registry import CheckpointView, get_checkpoint, list_checkpoints
from app.training.trainer import LoraTrainer
from app.worker.cycle import run_cycle
from app.worker.experiment import prepare_reproduction
from app.worker.mirror_desk import MirrorDesk
from app.worker.mirror_sender import MirrorSender
from tests.publishing import NOW, aliases
from tests.worker.conftest import Place

try:
    find_rclone()
except RuntimeUnavailable as absent:
    pytest.skip(f"a real rclone is the point: {absent}", allow_module_level=True)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the mirror's files lie, on a disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RCLONE_CONFIG_BOX_TYPE", "local")
        yield tmp_path_factory.mktemp("mirror")


@pytest.fixture(scope="module")
def shared(make_place: Callable[[], Place], mirror: Path) -> CheckpointView:
    """What another machine has trained and copied to the mirror."""
    place = make_place()
    put_instance(place.db, "legion", {"policy": {"push_to_mirror": True}}, now=NOW)
    place.fill(range(30), instance="legion")
    place.sleep("legion")
    root = place.settings.checkpoints_dir
    guard = FileGuard(place.db, root=root)
    sender = MirrorSender(place.db, remote=f"box:{mirror}", root=root, guard=guard)
    assert sender.look() == 1
    views, _ = list_checkpoints(place.db, instance="legion", status=None, cursor=None, limit=1)
    return views[0]


@pytest.fixture
def here(make_place: Callable[[], Place]) -> Place:
    """This machine, which has heard of other things."""
    place = make_place()
    place.fill(range(100, 130))
    return place


def desk_of(place: Place, mirror: Path | None) -> MirrorDesk:
    root = place.settings.checkpoints_dir
    remote = f"box:{mirror}" if mirror else None
    guard = FileGuard(place.db, root=root)
    sender = MirrorSender(place.db, remote=remote, root=root, guard=guard)
    return MirrorDesk(place.db, remote=remote, read_state=sender.read_state)


def pull(place: Place, mirror: Path | None, name: str, **how: Any) -> SleepCycleRow:
    how = {"within": None, "idempotency_key": None, "now": NOW, **how}
    return desk_of(place, mirror).pull("default", name, **how)


def run(place: Place, cycle: SleepCycleRow) -> SleepCycleRow:
    run_cycle(
        cycle.id,
        db=place.db,
        root=place.settings.checkpoints_dir,
        kept_directory=place.settings.kept_dir,
        trainer=LoraTrainer(),
        stop=threading.Event(),
    )
    return cycles.get_cycle(place.db, cycle.id)[0]


def look(place: Place, mirror: Path) -> dict[str, Mirrored]:
    view = desk_of(place, mirror).look("default", within=None)
    return {one.name: one for one in view.checkpoints}


def copied(mirror: Path, view: CheckpointView, tmp_path: Path) -> Path:
    """A mirror of one's own, to change what lies there."""
    shutil.copytree(mirror / view.row.name, tmp_path / "mirror" / view.row.name)
    return tmp_path / "mirror"


def lie(directory: Path, **changes: Any) -> None:
    """Change a manifest."""
    manifest = json.loads((directory / MANIFEST_FILE).read_text())
    (directory / MANIFEST_FILE).write_text(json.dumps({**manifest, **changes}))


def test_adopted_is_judged_here_goes_live_and_says_where_it_comes_from(
    here: Place, mirror: Path, shared: CheckpointView
) -> None:
    name = shared.row.name
    seen = look(here, mirror)[name]
    assert (seen.instance, seen.id, seen.is_same_base) == ("legion", shared.row.id, True)
    assert (seen.verdict, seen.checkpoint_id, seen.fault) == ("accepted", None, None)
    before = get_decision(here.db, "default", now=NOW)

    cycle = run(here, pull(here, mirror, name))
    assert cycle.status == CycleStatus.SUCCEEDED, cycle.error
    assert (cycle.trigger, cycle.plan.experience_ids) == ("adopt", ())
    assert cycle.metrics is not None
    assert (cycle.metrics.steps, cycle.metrics.held_out_reloaded.experiences > 0) == (0, True)
    assert cycle.metrics.effect_nats > 0
    checkpoint_id = aliases(here.db)["current"]
    adopted = get_checkpoint(here.db, checkpoint_id)
    assert adopted.row.id != shared.row.id
    assert {file.name: file.sha256 for file in adopted.row.files if file.name != MANIFEST_FILE} == {
        file.name: file.sha256 for file in shared.row.files if file.name != MANIFEST_FILE
    }
    manifest = json.loads(
        (here.settings.checkpoints_dir / adopted.row.name / MANIFEST_FILE).read_text()
    )
    origin = manifest["plan"]["adopted_from"]
    assert (origin["instance"], origin["name"], origin["checkpoint_id"]) == (
        "legion",
        name,
        shared.row.id,
    )
    assert manifest["experience_ids"]["train"] == []
    assert look(here, mirror)[name].checkpoint_id == checkpoint_id
    # It was no sleep: what waits here still waits, and as long as before.
    after = get_decision(here.db, "default", now=NOW)
    assert (after.count, after.mass, after.is_due) == (before.count, before.mass, before.is_due)
    assert "adopted" in cycles.get_report(here.db, cycle.id).summary
    with pytest.raises(CheckpointHere, match=checkpoint_id):
        pull(here, mirror, name)
    with pytest.raises(CheckpointNotReproducible, match="adopted from legion"):
        prepare_reproduction(here.db, checkpoint_id, root=here.settings.checkpoints_dir)
    # And the next sleep goes on from it.
    grown = here.sleep()
    assert grown.plan.parent_checkpoint_id == checkpoint_id
    assert grown.status == CycleStatus.SUCCEEDED, grown.error


def test_gate_here_refuses_what_it_accepted_there(
    here: Place, mirror: Path, shared: CheckpointView
) -> None:
    here.restart(gate={"inert_limit": 1000.0})
    cycle = run(here, pull(here, mirror, shared.row.name))
    assert cycle.status == CycleStatus.REJECTED
    assert aliases(here.db) == {}
    found = look(here, mirror)[shared.row.name]
    assert found.checkpoint_id is not None
    assert not get_checkpoint(here.db, found.checkpoint_id).row.verdict.is_accepted
    pull(here, mirror, shared.row.name)  # it may be asked again


def test_asking_again_with_the_same_key_is_asking_once(
    here: Place, mirror: Path, shared: CheckpointView
) -> None:
    first = pull(here, mirror, shared.row.name, idempotency_key="k")
    assert pull(here, mirror, shared.row.name, idempotency_key="k").id == first.id
    with pytest.raises(SleepCycleActive):
        pull(here, mirror, shared.row.name)


def test_other_base_is_refused_when_it_is_asked_for(
    here: Place, mirror: Path, shared: CheckpointView, tmp_path: Path
) -> None:
    other = copied(mirror, shared, tmp_path)
    manifest = json.loads((other / shared.row.name / MANIFEST_FILE).read_text())
    metrics = {**manifest["metrics"], "base_parts": {"config": "0" * 64}}
    base = {**manifest["base_model"], "revision": "f" * 64}
    lie(other / shared.row.name, base_model=base, metrics=metrics)
    assert look(here, other)[shared.row.name].is_same_base is False
    with pytest.raises(BaseDiffers, match="ffffffffffff"):
        pull(here, other, shared.row.name)


def test_what_changed_since_it_was_asked_for_is_refused(
    here: Place, mirror: Path, shared: CheckpointView, tmp_path: Path
) -> None:
    other = copied(mirror, shared, tmp_path)
    cycle = pull(here, other, shared.row.name)
    lie(other / shared.row.name, created_at="2026-01-01T00:00:00+00:00")
    ended = run(here, cycle)
    assert ended.error is not None
    assert ended.error.code == "checkpoint-files-altered"
    assert list(here.settings.checkpoints_dir.glob(".staging/*")) == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"megatron_config": {"a": 1}}, "megatron_config"),
        ({"auto_mapping": {"parent_library": "os"}}, "auto_mapping"),
        ({"target_modules": "(a+)+b"}, "target_modules"),
        ({"peft_type": "IA3"}, "LoRA"),
        ({"rank_pattern": {"(([a-z_.0-9])+)+Q": 4}}, "rank_pattern"),  # matching takes for ever
    ],
)
def test_adapter_that_is_more_than_plain_lora_is_never_loaded(
    here: Place,
    mirror: Path,
    shared: CheckpointView,
    tmp_path: Path,
    changes: dict[str, Any],
    why: str,
) -> None:
    other = copied(mirror, shared, tmp_path)
    ended = run(here, pull(here, rewritten(other, shared, changes), shared.row.name))
    assert ended.error is not None
    assert (ended.error.code, why in ended.error.message) == ("adapter-not-exportable", True)


def rewritten(mirror: Path, view: CheckpointView, changes: dict[str, Any]) -> Path:
    """A mirror whose maker says other things of its adapter, and signs them."""
    from app.artifacts.directories import describe_files

    directory = mirror / view.row.name
    config = json.loads((directory / CONFIG_FILE).read_text())
    (directory / CONFIG_FILE).write_text(json.dumps({**config, **changes}))
    files = {
        file.name: {"size_bytes": file.size_bytes, "sha256": file.sha256}
        for file in describe_files(directory)
    }
    lie(directory, files=files)
    return mirror


def made_nan(content: bytes) -> bytes:
    starts_at = 8 + int.from_bytes(content[:8], "little")
    return content[:starts_at] + b"\xff" * (len(content) - starts_at)


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"\x80\x04cos\nsystem\n" * 10,
        lambda _: (1 << 40).to_bytes(8, "little") + b"{}",
        lambda _: (1 << 63).to_bytes(8, "little") + b"{}",
        lambda _: (2).to_bytes(8, "little") + b"{}",
        lambda _: (400_000).to_bytes(8, "little") + b"[" * 200_000 + b"]" * 200_000,
        made_nan,
    ],
    ids=["pickled", "too long", "longer yet", "empty", "deep", "no numbers"],
)
def test_weights_that_are_no_safetensors_are_never_loaded(
    here: Place,
    mirror: Path,
    shared: CheckpointView,
    tmp_path: Path,
    damage: Callable[[bytes], bytes],
) -> None:
    other = copied(mirror, shared, tmp_path)
    file = other / shared.row.name / ADAPTER_FILE
    file.write_bytes(damage(file.read_bytes()))
    ended = run(here, pull(here, rewritten(other, shared, {}), shared.row.name))
    assert ended.error is not None
    assert ended.error.code == "adapter-not-exportable"


def test_refusals_say_what_to_do(
    here: Place, make_place: Callable[[], Place], mirror: Path, shared: CheckpointView
) -> None:
    with pytest.raises(CheckpointNotFound):
        pull(here, mirror, f"legion/9-{shared.row.id}")
    with pytest.raises(RuntimeUnavailable, match="SAGE_MIRROR"):
        pull(here, None, shared.row.name)
    with pytest.raises(NothingToJudgeBy, match="post some"):
        pull(make_place(), mirror, shared.row.name)


def test_bound_token_sees_other_machines_and_no_other_instance_of_this_one(
    here: Place, mirror: Path, shared: CheckpointView
) -> None:
    desk = desk_of(here, mirror)
    assert len(desk.look("default", within=["default"]).checkpoints) == 1
    put_instance(here.db, "legion", {}, now=NOW)
    assert len(desk.look("default", within=["default"]).checkpoints) == 0
    assert len(desk.look("default", within=["default", "legion"]).checkpoints) == 1
    with pytest.raises(InstanceForbidden):
        pull(here, mirror, shared.row.name, within=["default"])


def test_cycle_that_adopts_can_be_cancelled_and_leaves_nothing(
    here: Place, mirror: Path, shared: CheckpointView
) -> None:
    cycle = pull(here, mirror, shared.row.name)
    sleep.cancel_cycle(here.db, cycle.id, now=NOW)
    assert cycles.get_cycle(here.db, cycle.id)[0].status == CycleStatus.CANCELLED
    decision = get_decision(here.db, "default", now=NOW)
    assert not any("cancelled" in reason.text for reason in decision.reasons)
