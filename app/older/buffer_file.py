"""Reads `experience_buffer.json`, the buffer file of the older scripts, into its records.

For the older scripts' training API, which takes all of a file or none of it; the import into the
database reads it as one of many formats (`app.imports`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from app.errors import InvalidImportFile

MAX_BYTES = 32 << 20
"""Some sixty thousand exchanges, seventy times a year of the field's; parsed it takes a few hundred
MB. A guess."""


def read_records(path: Path) -> list[Any]:
    """Read a list of records, or `{"experiences": [...]}`, in the order of the file.

    No more than `MAX_BYTES` is read, whatever the path names: a device has no end and no size.

    Raises: InvalidImportFile.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise InvalidImportFile(
                f"{path.name} is larger than {MAX_BYTES >> 20} MiB; split it into parts, each a "
                "list of experiences."
            )
        content = json.loads(data)  # in UTF-8, 16 or 32, with a byte order mark or without
    except OSError as error:
        raise InvalidImportFile(f"{path.name} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidImportFile(f"{path.name} is not JSON: {error}.") from error
    records = content.get("experiences") if isinstance(content, dict) else content
    if not isinstance(records, list):
        raise InvalidImportFile(
            f"{path.name} must hold a list of experiences, or an object with the list "
            '"experiences".'
        )
    return records
