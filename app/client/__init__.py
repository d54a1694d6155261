"""What a session runtime imports to talk to the daemon; needs httpx and nothing else of ours.

    client.SleepClient, AsyncSleepClient    every route, typed
    client.Spool, SpoolSender, ...          exchanges that survive a daemon that is away
    client.ExperienceCollector              the older scripts' class, over the daemon

An operation is written once, as a flow (`flows.py`), one file per noun; two thin classes carry
flows out (`sync_client.py`, `async_client.py`). Results are frozen dataclasses (`results.py`) that
keep what they do not know in `raw`.
"""

from __future__ import annotations

from app.client.async_client import AsyncSleepClient
from app.client.background import AsyncSpoolSender, SpoolSender
from app.client.collector import ExperienceCollector
from app.client.decoding import Page, Result
from app.client.delivery import Delivery
from app.client.errors import (
    AnswerNotUnderstood,
    AuthorityUnusable,
    DaemonUnavailable,
    DownloadCorrupt,
    RequestRefused,
    SleepClientError,
    SpoolFull,
    SpoolUnusable,
)
from app.client.exchange import Exchange
from app.client.results import (
    ENDED_STATUSES,
    Aliases,
    AliasMove,
    BatchItem,
    BatchReceipt,
    Checkpoint,
    CheckpointFile,
    CheckpointUse,
    Current,
    CycleReport,
    Decision,
    Erasure,
    Event,
    Experience,
    ExperienceSummary,
    Instance,
    InstanceStats,
    LiveReport,
    Readiness,
    Receipt,
    Salience,
    SleepCycle,
    SleepPreview,
    Stats,
)
from app.client.spool import Rejected, Spool, Waiting
from app.client.sync_client import DEFAULT_URL, SleepClient

__all__ = [
    "DEFAULT_URL",
    "ENDED_STATUSES",
    "AliasMove",
    "Aliases",
    "AnswerNotUnderstood",
    "AsyncSleepClient",
    "AsyncSpoolSender",
    "AuthorityUnusable",
    "BatchItem",
    "BatchReceipt",
    "Checkpoint",
    "CheckpointFile",
    "CheckpointUse",
    "Current",
    "CycleReport",
    "DaemonUnavailable",
    "Decision",
    "Delivery",
    "DownloadCorrupt",
    "Erasure",
    "Event",
    "Exchange",
    "Experience",
    "ExperienceCollector",
    "ExperienceSummary",
    "Instance",
    "InstanceStats",
    "LiveReport",
    "Page",
    "Readiness",
    "Receipt",
    "Rejected",
    "RequestRefused",
    "Result",
    "Salience",
    "SleepClient",
    "SleepClientError",
    "SleepCycle",
    "SleepPreview",
    "Spool",
    "SpoolFull",
    "SpoolSender",
    "SpoolUnusable",
    "Stats",
    "Waiting",
]
