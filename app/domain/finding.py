"""What a look at a data directory found: how bad it is, what it is, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """An error is something that is wrong; a warning will be, or is not as it should be."""

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        check: Which look found it, such as `checkpoints`.
        remedy: What a person does about it.
        is_fixable: `doctor --fix` does it, safely.
        fixed: What was done; None for nothing.
    """

    severity: Severity
    check: str
    text: str
    remedy: str
    is_fixable: bool = False
    fixed: str | None = None
