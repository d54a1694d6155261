"""Whether this machine's memory is nearly full: what can be loaded again then gives its own back.

Linux says what is available; elsewhere memory is never taken to be short.
"""

from __future__ import annotations

import re
from pathlib import Path

MEMINFO = Path("/proc/meminfo")

SHORT_SHARE = 0.1
"""Of the memory, available; below it the system begins to swap what is in use. A guess."""

_KIB = re.compile(r"^(MemTotal|MemAvailable):\s+(\d+) kB$", re.MULTILINE)


def is_memory_short(meminfo: Path = MEMINFO) -> bool:
    """Whether less than `SHORT_SHARE` of the memory is available."""
    try:
        found = dict(_KIB.findall(meminfo.read_text(encoding="ascii")))
        return int(found["MemAvailable"]) < SHORT_SHARE * int(found["MemTotal"])
    except (OSError, ValueError, KeyError):
        return False
