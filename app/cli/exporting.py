"""What making an export needs of the base's files. Must not know commands or the daemon."""

from __future__ import annotations

from pathlib import Path

from app.artifacts.bases import base_name, find_base_model
from app.domain.base_parts import changed_parts
from app.domain.export import ExportOrder
from app.errors import ExportBaseChanged
from app.training.models import fingerprint


def find_same_base(order: ExportOrder) -> Path:
    """The base that the adapter was trained on.

    Raises: BaseModelNotFound, ExportBaseChanged.
    """
    found = fingerprint(order.base_model)
    if not found.is_meant_by(order.base_sha256, order.base_parts):
        parts = ", ".join(changed_parts(order.base_parts, found.parts)) or "its files"
        raise ExportBaseChanged(
            f"{base_name(order.base_model)} is not the base that this checkpoint was trained on: "
            f"{parts} changed since; put those back, or train again."
        )
    return find_base_model(order.base_model)
