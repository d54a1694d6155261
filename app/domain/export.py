"""What a checkpoint can be made into for other runtimes, by name; and what is refused, and why."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from app.domain.base_parts import BaseParts
from app.errors import MergeLosesLearning


class Export(StrEnum):
    """A file that is made when it is asked for: of a checkpoint, or of a base alone."""

    ADAPTER_GGUF = "adapter.gguf"
    MERGED_F16 = "merged-f16.gguf"
    MERGED_Q8_0 = "merged-q8_0.gguf"
    MERGED_SAFETENSORS = "merged-safetensors.tar"
    BASE_Q8_0 = "base-q8_0.gguf"


OF_CHECKPOINTS = tuple(export for export in Export if export is not Export.BASE_Q8_0)


EXPORT_VERSION = 1
"""To be raised when a checkpoint would be made into other bytes than before."""

_FEW_BITS = re.compile(r"merged-(gguf-)?i?t?q[1-4].*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportOrder:
    """What a process of its own is asked to make.

    Attributes:
        root: Where checkpoints lie; the export is put below it.
        checkpoint: The checkpoint's name; of a base alone, what stands for it (`order_base`).
        adapter_sha256: Of its weights; empty of a base alone.
        base_model: A hub id, or a directory on this machine.
        base_sha256: The fingerprint of the base that the adapter was trained on.
        base_parts: The same part by part, where that was recorded.
        base_gguf: The base's own GGUF file; None to look for one beside its configuration.
    """

    root: Path
    checkpoint: str
    export: Export
    adapter_sha256: str
    base_model: str
    base_sha256: str | None
    base_parts: BaseParts = field(default_factory=dict)
    base_gguf: Path | None = None


def find_export(name: str) -> Export | None:
    """The export of a name; None where no export is called so. Raises: MergeLosesLearning."""
    if _FEW_BITS.fullmatch(name):
        raise MergeLosesLearning(
            "A merged model of four bits or fewer would forget what was learned: rounding moves "
            "most weights further than a night of training does (measured on the embedded model: a "
            "KL of 0.67 from the adapter and a correlation of 0.34 with what it changes, against "
            f"0.007 and 0.99 at Q8_0). Take {Export.MERGED_Q8_0}, or {Export.ADAPTER_GGUF} over "
            "the four-bit base."
        )
    return Export(name) if name in OF_CHECKPOINTS else None


BASES = ".bases"
"""Where, among names of checkpoints, the names of bases stand; no instance is called so."""


def order_base(root: Path, base_model: str) -> ExportOrder:
    """The order of a base alone, as llama.cpp reads it.

    Args:
        root: Where checkpoints lie.
    """
    place = hashlib.sha256(base_model.encode()).hexdigest()[:26]
    return ExportOrder(
        root=root,
        checkpoint=f"{BASES}/{place}",
        export=Export.BASE_Q8_0,
        adapter_sha256="",
        base_model=base_model,
        base_sha256=None,
    )
