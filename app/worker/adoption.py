"""Brings a checkpoint of the mirror into a cycle's staging, and looks at it before it is loaded.

It comes from another machine, so nothing of it is believed: its files are those of the manifest
that was read when the cycle was asked for, the adapter is plain LoRA in safetensors, and it is for
the base that is here. Whether it is any good the gate says.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

from app.domain.checkpoint import MANIFEST_FILE
from app.domain.manifest import Manifest
from app.domain.mirror import AdoptedFrom
from app.domain.progress import Progress, Stage
from app.errors import CheckpointFilesAltered, RuntimeUnavailable, TrainingStopped
from app.exports.lora import demand_plain
from app.runtimes.mirror import Mirror
from app.runtimes.rclone import from_environment
from app.training.models import fingerprint

PULL_SECONDS = 3600.0
"""That one command may take; one that moves nothing for a minute ends by itself."""


def bring(
    adopted: AdoptedFrom,
    directory: Path,
    *,
    base_model: str,
    on_progress: Callable[[Progress], None],
    stop: threading.Event,
) -> None:
    """Pull an adapter into an empty directory.

    Raises: RuntimeUnavailable, RuntimeRefuses; CheckpointNotFound, CheckpointFilesMissing,
        CheckpointFilesAltered; BaseModelNotFound, BaseDiffers; AdapterNotExportable;
        TrainingStopped.
    """
    found = fingerprint(base_model)

    def is_same_base(manifest: Manifest) -> bool:
        return found.is_meant_by(manifest.base_model.revision, manifest.metrics.base_parts)

    def should_stop() -> bool:
        on_progress(Progress(stage=Stage.LOADING))  # a sign of life
        return stop.is_set()

    rclone = from_environment(PULL_SECONDS, should_stop=should_stop)
    mirror = Mirror(rclone=rclone, remote=adopted.mirror)
    try:
        mirror.pull(adopted.name, directory, is_same_base=is_same_base)
    except RuntimeUnavailable as error:
        if stop.is_set():
            raise TrainingStopped("stopped while it was pulled") from error
        raise
    manifest = (directory / MANIFEST_FILE).read_bytes()
    if hashlib.sha256(manifest).hexdigest() != adopted.manifest_sha256:
        raise CheckpointFilesAltered(
            f"The mirror's {adopted.name} is not what it was when it was asked for; ask again.",
            file=MANIFEST_FILE,
        )
    demand_plain(directory)
