"""What the training child does: one sleep cycle, from its claim to its published checkpoint.

This module runs in a process of its own (`sage-sleep run-cycle ID`), so that whatever happens to
memory or CUDA happens here and ends with it. It dies with the daemon: the daemon holds the other
end of this process's standard input, which closes however the daemon ends.
"""

from __future__ import annotations

import errno
import shutil
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from app.artifacts import directories, disk, exports, leftovers
from app.artifacts.archive import build_archive
from app.artifacts.bases import base_name, find_base_model
from app.clock import new_id, utc_now
from app.db.engine import Database
from app.domain.checkpoint import ADAPTER_FILE, checkpoint_name
from app.domain.export import Export, ExportOrder
from app.domain.gate import Verdict, judge
from app.domain.manifest import ManifestCycle, make_manifest
from app.domain.plan import TrainingJob
from app.domain.progress import CycleStatus, Progress, Stage
from app.domain.recipe import Recipe
from app.domain.report import TrainingReport
from app.domain.stored import to_json
from app.errors import CycleOwnershipLost, NothingFits, SageSleepError, TrainingStopped
from app.log import get_logger
from app.services import cycle_end, cycle_run
from app.services.file_guard import FileGuard
from app.training.trainer import Trainer
from app.worker.progress import ProgressWriter
from app.worker.teaching import teach

if TYPE_CHECKING:
    from app.runtimes.teacher import Teacher

_log = get_logger(__name__)


def run_cycle(
    cycle_id: str,
    *,
    db: Database,
    root: Path,
    kept_directory: Path | None = None,
    snapshots_directory: Path | None = None,
    tensorboard_directory: Path | None = None,
    snapshot_interval_seconds: float = 30.0,
    max_export_bytes: int | None = None,
    teacher: Callable[[], Teacher] | None = None,
    trainer: Trainer,
    stop: threading.Event,
) -> CycleStatus | None:
    """Run one queued cycle to its end, from its snapshot where an earlier run left one.

    Args:
        max_export_bytes: Of all exports, where llama.cpp is to find an accepted adapter ready.
        teacher: Opens the one that a cycle which dreams asks; None asks none.

    Returns:
        The state it ended in, or None when it was stopped and is queued again or cancelled.

    Raises: CycleOwnershipLost when another worker has it.
    """
    worker_id = new_id()
    guard = FileGuard(db, root=root)
    guard.check_parent(cycle_id, now=utc_now())
    order = cycle_run.start_cycle(db, cycle_id, worker_id=worker_id, now=utc_now())
    _log.info("sleep_cycle.started", cycle_id=cycle_id, experiences=len(order.train))
    checkpoint_id = new_id()
    name = checkpoint_name(order.instance, order.cycle.number, checkpoint_id)
    staged = directories.staging_path(root, checkpoint_id)
    take_back = partial(_take_back, db, root, staged, checkpoint_id, name)
    job = TrainingJob(
        base_model=order.plan.base_model,
        parent_adapter=root / order.parent.name if order.parent else None,
        parent_base_sha256=order.parent.base_sha256 if order.parent else None,
        parent_base_parts=order.parent_base_parts,
        output_directory=staged,
        system_prompt=order.plan.system_prompt,
        recipe=order.plan.recipe,
        train=order.train,
        held_out=order.held_out,
        probe_prompts=order.plan.probe_prompts,
        rehearsal_count=order.plan.rehearsal_count,
        thinking=order.plan.thinking,
        replaced_adapter=root / order.replaced.name if order.replaced else None,
        replaced_base_sha256=order.replaced.base_sha256 if order.replaced else None,
        replaced_base_parts=order.replaced_base_parts,
        adopted_adapter=staged if order.plan.adopted_from else None,
        gate=db.defaults.gate,
        kept_directory=kept_directory,
        snapshot_file=leftovers.snapshot_path(snapshots_directory, cycle_id)
        if snapshots_directory
        else None,
        snapshot_interval_seconds=snapshot_interval_seconds,
    )
    try:
        # Inside: a disk that is away, or has no room for a directory, must end the cycle as well.
        guard.require_place()
        directories.stage(root, checkpoint_id)
        with ProgressWriter(
            db, cycle_id, worker_id=worker_id, expected=order.expected, stop=stop
        ) as on_progress:
            if order.plan.adopted_from is not None:
                from app.worker.adoption import bring  # noqa: PLC0415  # numpy, for who adopts

                bring(
                    order.plan.adopted_from,
                    staged,
                    base_model=order.plan.base_model,
                    on_progress=on_progress,
                    stop=stop,
                )
            if teacher is not None and job.recipe.dreams and job.adopted_adapter is None:
                ask = partial(teach, db, cycle=order.cycle.number, on_progress=on_progress)
                with teacher() as opened:
                    job = replace(job, train=ask(opened, job.train, stop=stop))
            report = trainer.run(job, on_progress=on_progress, should_stop=stop.is_set)
            on_progress(Progress(stage=Stage.PUBLISHING))
            verdict = judge(report, db.defaults.gate)
            publication = _publish(order, root, staged, checkpoint_id, name, report, verdict)
            if max_export_bytes is not None and verdict.is_accepted:
                _make_ready(order, root, publication, report, max_bytes=max_export_bytes)
        # Once more, since a stop may have come while the files were written and synced.
        _demand_running(stop)
        status = cycle_end.complete_cycle(
            db,
            cycle_id,
            worker_id=worker_id,
            publication=publication,
            report=report,
            verdict=verdict,
            now=utc_now(),
        )
    except TrainingStopped:
        take_back()
        cycle_end.stop_cycle(db, cycle_id, worker_id=worker_id, now=utc_now())
        _log.info("sleep_cycle.stopped", cycle_id=cycle_id)
        return None
    except CycleOwnershipLost:
        take_back()
        raise
    except Exception as error:  # noqa: BLE001  # whatever it was, the cycle must end as failed
        take_back()
        code, message = _explain(error)
        cycle_end.fail_cycle(
            db,
            cycle_id,
            worker_id=worker_id,
            code=code,
            message=message,
            unfit=error.facts["unfit"] if isinstance(error, NothingFits) else (),
            now=utc_now(),
        )
        _forget_snapshot(job)
        # Frames only: a foreign error's message may quote the conversation.
        frames = traceback.format_tb(error.__traceback__)
        _log.error("sleep_cycle.failed", cycle_id=cycle_id, code=code, frames=frames)
        return CycleStatus.FAILED
    _forget_snapshot(job)
    if tensorboard_directory is not None:
        name = f"{order.cycle.number:05}-{cycle_id}"
        _write_curves(tensorboard_directory / order.instance / name, report, verdict, job.recipe)
    _log.info(
        "sleep_cycle.finished",
        cycle_id=cycle_id,
        status=status.value,
        held_out_before=report.held_out_before.nats_per_token,
        held_out_after=report.held_out_reloaded.nats_per_token,
        tokens_per_second=report.tokens_per_second,
    )
    return status


def _publish(
    order: cycle_run.CycleOrder,
    root: Path,
    staged: Path,
    checkpoint_id: str,
    name: str,
    report: TrainingReport,
    verdict: Verdict,
) -> cycle_end.Publication:
    adapter_files = directories.describe_files(staged)
    manifest = make_manifest(
        checkpoint_id=checkpoint_id,
        name=name,
        instance=order.instance,
        cycle=ManifestCycle(id=order.cycle.id, number=order.cycle.number),
        plan=replace(order.plan, base_model=base_name(order.plan.base_model), layers=report.layers),
        report=report,
        verdict=verdict,
        created_at=utc_now().isoformat(),
        files=adapter_files,
    )
    # The manifest lists every file but itself, so it is written when all of them are known.
    files = (*adapter_files, directories.write_manifest(staged, to_json(manifest)))
    directory = directories.publish(root, staged, name)
    archive = build_archive(directory, name.replace("/", "-"), files)
    return cycle_end.Publication(
        checkpoint_id=checkpoint_id,
        name=name,
        files=files,
        archive_size_bytes=archive.size_bytes,
        archive_sha256=archive.sha256,
    )


def _make_ready(
    order: cycle_run.CycleOrder,
    root: Path,
    publication: cycle_end.Publication,
    report: TrainingReport,
    *,
    max_bytes: int,
) -> None:
    """Make what llama.cpp loads, so that the first reply after the promotion need not wait for it.

    Whatever keeps it from being made is told to who asks for it.
    """
    from app.exports.making import make  # noqa: PLC0415  # after torch's environment

    (weights,) = (file for file in publication.files if file.name == ADAPTER_FILE)
    export = ExportOrder(
        root=root,
        checkpoint=publication.name,
        export=Export.ADAPTER_GGUF,
        adapter_sha256=weights.sha256,
        base_model=order.plan.base_model,
        base_sha256=report.base_sha256,
        base_parts=report.base_parts,
    )
    try:
        base = find_base_model(export.base_model)
        with exports.making(export, exports.key_of(export)) as room:
            make(export.export, root / publication.name, base, room / export.export.value)
        exports.let_go(root, max_bytes=max_bytes, keep=export)
    except Exception as error:  # noqa: BLE001  # the cycle has ended well all the same
        _log.info("export.not_ready", error=type(error).__name__)


def _write_curves(
    directory: Path, report: TrainingReport, verdict: Verdict, recipe: Recipe
) -> None:
    """Pictures for a person; whatever keeps them from being drawn, the cycle has ended well."""
    from app.training.curves import write_curves  # noqa: PLC0415  # after torch's environment

    try:
        write_curves(directory, report, verdict, recipe)
    except ImportError as error:
        missing, install = error.name, "sage-sleep[tensorboard]"
        _log.warning("tensorboard.package_missing", missing=missing, install=install)
    except OSError as error:
        _log.warning("tensorboard.not_written", error=error.strerror)


def _take_back(db: Database, root: Path, staged: Path, checkpoint_id: str, name: str) -> None:
    """Delete what was staged, and what was published but not registered.

    After an error the commit may have happened, so the registry is asked. Where it does not answer,
    or nothing can be deleted now, the daemon does it once this process has ended.
    """
    shutil.rmtree(staged, ignore_errors=True)
    with suppress(SageSleepError, OSError):
        if (root / name).exists() and not cycle_end.is_registered(db, checkpoint_id):
            directories.remove(root, name)


def _forget_snapshot(job: TrainingJob) -> None:
    """After a cycle's end; what a cancelled one left goes at the daemon's next start."""
    if job.snapshot_file is not None:
        with suppress(OSError):
            job.snapshot_file.unlink(missing_ok=True)


def _demand_running(stop: threading.Event) -> None:
    if stop.is_set():
        raise TrainingStopped("stopped before its checkpoint was registered")


def _explain(error: Exception) -> tuple[str, str]:
    """Code and message of a failed cycle; of a foreign error only the type, its text may quote."""
    if _is_out_of_memory(error):
        return "out-of-memory", "The training process ran out of memory; lower batch_size."
    if _is_disk_full(error):
        return "disk-full", "The disk has no room left; free some, and see `sage-sleep prune`."
    if isinstance(error, SageSleepError):
        return error.code, error.message
    return "unexpected-error", f"The training process failed with {type(error).__name__}."


def _is_disk_full(error: BaseException | None) -> bool:
    """Whether the error, or one that it was translated from, says that the disk is full.

    safetensors raises an error of its own, with the system's number in its text.
    """
    while error is not None:
        text = str(error)
        if getattr(error, "errno", None) in disk.FULL or any(
            f"os error {number})" in text for number in disk.FULL
        ):
            return True
        error = error.__cause__
    return False


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Whether the error, or one that it was translated from, says that memory ran out."""
    while error is not None:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        # torch's allocators for the GPU and for the CPU say so in a RuntimeError's words alone.
        words = str(error).lower()
        if "out of memory" in words or "can't allocate memory" in words:
            return True
        error = error.__cause__
    return False
