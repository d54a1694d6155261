"""What must be made of a checkpoint for another runtime: where its adapter and its base lie."""

from __future__ import annotations

from pathlib import Path

from app.artifacts.bases import base_name, find_base_model
from app.db import checkpoints, instances, sleep_cycles
from app.db.engine import Database
from app.domain.checkpoint import ADAPTER_FILE
from app.domain.export import Export, ExportOrder
from app.errors import BaseModelAbsent, BaseModelNotFound
from app.services.instances import effective
from app.services.registry import CheckpointView, find_file


def order_export(db: Database, view: CheckpointView, export: Export, *, root: Path) -> ExportOrder:
    """The order of an export; whether the base is the right one, its maker says.

    Args:
        root: Where checkpoints lie.

    Raises:
        CheckpointFileNotFound: It was deleted.
        CheckpointDamaged: Its files are gone or altered.
        BaseModelAbsent: Its base is not on this machine.
    """
    weights = find_file(view, ADAPTER_FILE)
    with db.read() as session:
        row = checkpoints.get_checkpoint(session, view.row.id)
        instance = instances.get_instance_by_id(session, row.instance_id)
        # Where it was when the checkpoint was made; a restored directory may have it elsewhere.
        places = (
            sleep_cycles.get_cycle(session, row.cycle_id).plan.base_model,
            effective(session, instance).base_model,
        )
        report = row.metrics
    return ExportOrder(
        root=root,
        checkpoint=view.row.name,
        export=export,
        adapter_sha256=weights.sha256,
        base_model=_find_place(places),
        base_sha256=report.base_sha256,
        base_parts=report.base_parts,
    )


def _find_place(places: tuple[str, ...]) -> str:
    for place in places:
        try:
            find_base_model(place)
        except BaseModelNotFound:
            continue
        return place
    raise BaseModelAbsent(
        f"The base {base_name(places[0])} of this checkpoint is not on this machine, and another "
        "runtime's files are made with it; fetch it (`sage-sleep model fetch`), then ask again."
    )
