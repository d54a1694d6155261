"""Reads `experience_buffer.json`, the buffer file of the older scripts, into its records.

Shared by the import into the database and by the older scripts' training API, which ask different
things of a record. Must not know either.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from app.errors import InvalidImportFile


def read_records(path: Path) -> list[Any]:
    """Read a list of records, or `{"experiences": [...]}`, in the order of the file.

    Raises: InvalidImportFile.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidImportFile(f"{path.name} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidImportFile(f"{path.name} is not JSON in UTF-8: {error}.") from error
    records = content.get("experiences") if isinstance(content, dict) else content
    if not isinstance(records, list):
        raise InvalidImportFile(
            f"{path.name} must hold a list of experiences, or an object with the list "
            '"experiences".'
        )
    return records
