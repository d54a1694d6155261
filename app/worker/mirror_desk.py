"""What a person does with the mirror: look at what lies there, and have one of it adopted.

The mirror holds what other machines made, so what it says of itself is shown, and doubted again
when it is pulled (`app.worker.adoption`).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from app.artifacts.bases import find_base_model
from app.db import instances
from app.db.engine import Database
from app.db.tables import CheckpointRow, SleepCycleRow
from app.domain.checkpoint import ADAPTER_FILE
from app.domain.manifest import Manifest
from app.domain.mirror import AdoptedFrom
from app.errors import (
    BaseDiffers,
    BaseModelNotFound,
    InstanceForbidden,
    RuntimeUnavailable,
    SageSleepError,
)
from app.services import adopting
from app.services.instances import EffectiveInstance, get_instance
from app.services.mirroring import FLAG, Mirrored, MirrorState, MirrorView
from app.training.models import Fingerprint, fingerprint

if TYPE_CHECKING:
    from app.runtimes.mirror import Mirror

LOOK_SECONDS = 60.0
AT_ONCE = 4
"""Looks at a time: each holds one of the few threads that answer."""


class MirrorDesk:
    """Asks one mirror.

    Args:
        remote: `name:path`; None where there is none.
        read_state: How the copying stands.
    """

    def __init__(
        self, db: Database, *, remote: str | None, read_state: Callable[[], MirrorState]
    ) -> None:
        self._db = db
        self._remote = remote
        self._read_state = read_state
        self._places = threading.BoundedSemaphore(AT_ONCE)
        self._fingerprints: dict[str, tuple[tuple[object, ...], Fingerprint]] = {}

    def look(self, slug: str, *, within: Collection[str] | None) -> MirrorView:
        """All that lies in the mirror, newest first, as an instance sees it.

        Args:
            within: Slugs of this daemon's instances that the caller may know of; None for all.

        Raises: InstanceNotFound, RuntimeUnavailable, RuntimeRefuses.
        """
        instance = get_instance(self._db, slug)
        with self._opened() as mirror:
            listing = mirror.list_all()
            names = [name for name in listing.names if self._may_see(name, within)]
            manifests = mirror.read_manifests(names)
        base = self._find_base(instance)
        with self._db.read() as session:
            ids = [name.rpartition("-")[2] for name in names]
            here = adopting.find_here(session, instance.row.id, ids)
            return MirrorView(
                remote=mirror.remote,
                is_pushed=bool(getattr(instance.policy, FLAG)),
                state=self._read_state(),
                checkpoints=[
                    _describe(name, manifests[name], base, here.get(name.rpartition("-")[2]))
                    for name in names
                ],
                is_cut=listing.is_cut,
            )

    def pull(
        self,
        slug: str,
        name: str,
        *,
        within: Collection[str] | None,
        idempotency_key: str | None,
        now: datetime,
    ) -> SleepCycleRow:
        """Queue a cycle that pulls a checkpoint and judges it here.

        Raises: InstanceNotFound, InstanceForbidden; RuntimeUnavailable, RuntimeRefuses;
            CheckpointNotFound, CheckpointFilesAltered; BaseDiffers; as
            `adopting.request_adoption`.
        """
        instance = get_instance(self._db, slug)
        if not self._may_see(name, within):
            raise InstanceForbidden(f"This token is bound to other instances than {name}'s.")
        with self._opened() as mirror:
            manifest, text = mirror.read_manifest(name)
        base = self._find_base(instance)
        if base is not None and not _is_of(manifest, base):
            raise BaseDiffers(
                f"{name} was trained on {manifest.base_model.name} "
                f"({manifest.base_model.revision[:12]}), and the base of {slug} here is another "
                f"({base.sha256[:12]}): only a checkpoint of the same base can be adopted.",
                base_sha256=base.sha256,
            )
        return adopting.request_adoption(
            self._db,
            slug,
            AdoptedFrom(
                mirror=mirror.remote,
                instance=manifest.instance,
                name=name,
                checkpoint_id=manifest.id,
                manifest_sha256=hashlib.sha256(text).hexdigest(),
                adapter_sha256=manifest.files[ADAPTER_FILE].sha256,
                base_sha256=manifest.base_model.revision,
                verdict=manifest.verdict.status,
                created_at=manifest.created_at,
            ),
            made_with=manifest.plan.recipe,
            idempotency_key=idempotency_key,
            now=now,
        )

    @contextmanager
    def _opened(self) -> Iterator[Mirror]:
        from app.runtimes.mirror import Mirror  # noqa: PLC0415  # for who has a mirror
        from app.runtimes.rclone import from_environment  # noqa: PLC0415

        if self._remote is None:
            raise RuntimeUnavailable(
                "No mirror is named: set SAGE_MIRROR to name:path of an rclone remote."
            )
        if not self._places.acquire(blocking=False):
            raise RuntimeUnavailable("The mirror is being looked at by others; ask again.")
        try:
            yield Mirror(rclone=from_environment(LOOK_SECONDS), remote=self._remote)
        finally:
            self._places.release()

    def _may_see(self, name: str, within: Collection[str] | None) -> bool:
        """What another machine made, any; what an instance here made, as the token says."""
        if within is None:
            return True
        made_by = name.partition("/")[0]
        with self._db.read() as session:
            is_here = any(row.slug == made_by for row in instances.list_instances(session))
        return not is_here or made_by in within

    def _find_base(self, instance: EffectiveInstance) -> Fingerprint | None:
        """The base of an instance; its files are hashed again only where they changed."""
        if instance.base_unnamed is not None:
            return None
        try:
            directory = find_base_model(instance.base_model)
            stamp = _stamp(directory)
            known = self._fingerprints.get(instance.base_model)
            if known is None or known[0] != stamp:
                known = (stamp, fingerprint(instance.base_model))
                self._fingerprints[instance.base_model] = known
        except (BaseModelNotFound, OSError):
            return None
        return known[1]


def _stamp(directory: Path) -> tuple[object, ...]:
    found = [(path.name, path.stat()) for path in sorted(directory.iterdir())]
    return tuple((name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in found)


def _is_of(manifest: Manifest, base: Fingerprint) -> bool:
    return base.is_meant_by(manifest.base_model.revision, manifest.metrics.base_parts)


def _describe(
    name: str,
    found: Manifest | SageSleepError,
    base: Fingerprint | None,
    here: CheckpointRow | None,
) -> Mirrored:
    instance, _, last = name.partition("/")
    known = Mirrored(
        name=name,
        instance=instance,
        id=last.partition("-")[2],
        checkpoint_id=here.id if here else None,
    )
    if isinstance(found, SageSleepError):
        return replace(known, fault=found.message)
    return replace(
        known,
        base_model=found.base_model.name,
        base_sha256=found.base_model.revision,
        is_same_base=None if base is None else _is_of(found, base),
        created_at=found.created_at,
        verdict=found.verdict.status,
        size_bytes=sum(file.size_bytes for file in found.files.values()),
        adopted_from=found.plan.adopted_from.name if found.plan.adopted_from else None,
    )
