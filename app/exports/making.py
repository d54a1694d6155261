"""Makes one of its exports of a checkpoint's directory. Must not know the daemon."""

from __future__ import annotations

from pathlib import Path

from app.domain.export import Export
from app.exports.adapter import write_adapter
from app.exports.architectures import Architecture
from app.exports.lora import read_adapter
from app.exports.merged import Numbers, write_merged_gguf, write_merged_safetensors
from app.exports.metadata import read_config

_NUMBERS = {
    Export.MERGED_F16: Numbers.F16,
    Export.MERGED_Q8_0: Numbers.Q8_0,
    Export.BASE_Q8_0: Numbers.Q8_0,
}


def make(
    export: Export, adapter: Path, base: Path, target: Path, *, base_gguf: Path | None = None
) -> None:
    """Make an adapter, or a base alone, into an export.

    Args:
        adapter: A directory as peft writes it; not read where the base alone is wanted.
        base: The directory of its base.
        target: The file to write, not there yet; an empty directory for safetensors.
        base_gguf: The base's own GGUF file; None to look for one in its directory.

    Raises: AdapterNotExportable, BaseNotExportable, CheckpointFilesMissing.
    """
    pairs = [] if export is Export.BASE_Q8_0 else read_adapter(adapter)
    match export:
        case Export.ADAPTER_GGUF:
            architecture = Architecture(read_config(base))
            write_adapter(pairs, architecture, target, name=adapter.name)
        case Export.MERGED_SAFETENSORS:
            write_merged_safetensors(pairs, base, target)
        case Export.MERGED_F16 | Export.MERGED_Q8_0 | Export.BASE_Q8_0:
            write_merged_gguf(
                pairs,
                base,
                target,
                numbers=_NUMBERS[export],
                name=adapter.name if pairs else base.name,
                base_gguf=base_gguf,
            )
