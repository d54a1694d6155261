"""Reads safetensors files as numpy arrays, a tensor or some of its rows at a time.

Files are mapped, not loaded: a model of any size costs what is looked at. Must not know whose
weights they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import BaseNotExportable

Floats = NDArray[np.float32]

METADATA_KEY = "__metadata__"
_LENGTH_BYTES = 8
_LARGEST_HEADER = 100_000_000
"""As the format's own reader allows."""

STORED: Mapping[str, str] = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2",
}  # fmt: skip
"""What numpy reads each format as; of BF16 the bits, since numpy has no such number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Weight:
    """One tensor of a file, not read yet.

    Attributes:
        dtype: As the file names it.
        bits: The mapped file's numbers, or bits, in the tensor's shape.
    """

    name: str
    dtype: str
    bits: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape as torch has it: of a linear layer (out, in)."""
        return self.bits.shape

    def read(self, rows: slice | NDArray[np.intp] = slice(None)) -> Floats:
        """Some rows along the first axis, or all, as float32."""
        found = self.bits[rows]
        if self.dtype == "BF16":
            return (found.astype(np.uint32) << 16).view(np.float32)
        return found.astype(np.float32)


def to_bits(values: Floats, dtype: str) -> NDArray[Any]:
    """Numbers as a file of this format holds them; ties of BF16 go to the even one, as in torch."""
    if dtype != "BF16":
        return values.astype(STORED[dtype])
    bits = np.ascontiguousarray(values, dtype="<f4").view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def read_header(file: Path) -> dict[str, Any]:
    """What a safetensors file says of its tensors: dtype, shape and place of each, by name.

    Raises: BaseNotExportable: It is no such file.
    """
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(_LENGTH_BYTES), "little")
            header = json.loads(opened.read(min(length, _LARGEST_HEADER)))
    except (OSError, ValueError, RecursionError) as error:
        raise BaseNotExportable(f"{file.name} cannot be read as safetensors: {error}") from error
    if not isinstance(header, dict):
        raise BaseNotExportable(f"{file.name} is no safetensors file: its header is no object")
    return header


def map_weights(files: Iterable[Path]) -> dict[str, Weight]:
    """Every tensor of some safetensors files, by name. Raises: BaseNotExportable."""
    found: dict[str, Weight] = {}
    for file in files:
        if file.suffix != ".safetensors":
            raise BaseNotExportable(
                f"{file.name} holds weights in torch's own form, which only torch reads: save the "
                "model as safetensors first"
            )
        found |= {weight.name: weight for weight in _map_file(file)}
    return found


def _map_file(file: Path) -> Iterator[Weight]:
    header = read_header(file)
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(_LENGTH_BYTES), "little")
    try:
        mapped = np.memmap(file, dtype=np.uint8, mode="r", offset=_LENGTH_BYTES + length)
    except (ValueError, OverflowError) as error:  # the header is all of it, or longer than it
        raise BaseNotExportable(f"{file.name} holds no tensors") from error
    for name, facts in header.items():
        if name == METADATA_KEY:
            continue
        try:
            start, end = facts["data_offsets"]
            dtype, shape = str(facts["dtype"]), tuple(facts["shape"])
            if dtype not in STORED:
                raise BaseNotExportable(
                    f"{name} in {file.name} is stored as {dtype}: quantised weights cannot be "
                    "merged with; use the model that they were made from"
                )
            bits = mapped[start:end].view(STORED[dtype]).reshape(shape)
        except (KeyError, TypeError, ValueError) as error:
            raise BaseNotExportable(f"{file.name} is damaged at {name}: {error}") from error
        yield Weight(name=name, dtype=dtype, bits=bits)
