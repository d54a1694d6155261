"""What a session runtime imports to talk to the daemon; needs httpx and nothing else.

    SleepClient, AsyncSleepClient    every route, typed
    Spool, SpoolSender, ...          exchanges that survive a daemon that is away
    ExperienceCollector              the older scripts' class, over the daemon

A distribution of its own (`pyproject.toml` here), imported as `sage_sleep_client`, for Python 3.10
and later; the daemon's commands import the same files as `app.client`. What waits for the network
is written once, as coroutines (`async_*.py`), and unasync makes the blocking half of it, as it does
for other clients of both kinds: a traceback then shows plain calls, which one interpreter of flows
for both did not. Results are frozen dataclasses that keep what they do not know in `raw`.
"""

from __future__ import annotations

from .async_client import AsyncSleepClient
from .background import AsyncSpoolSender, SpoolSender
from .collector import ExperienceCollector
from .cycles import (
    ENDED_STATUSES,
    Check,
    CycleError,
    CycleMetrics,
    CyclePlan,
    CycleReport,
    Decision,
    Progress,
    Recipe,
    SleepCycle,
    SleepPreview,
    Verdict,
)
from .errors import (
    AnswerNotUnderstood,
    AuthorityUnusable,
    DaemonUnavailable,
    DownloadCorrupt,
    RequestRefused,
    SleepClientError,
    SpoolFull,
    SpoolUnusable,
)
from .request import DEFAULT_URL
from .results import (
    Aliases,
    AliasMove,
    AnsweredBy,
    BatchItem,
    BatchReceipt,
    ChatCompletion,
    Checkpoint,
    CheckpointFile,
    CheckpointUse,
    Current,
    Erasure,
    Experience,
    ExperienceSummary,
    Instance,
    InstanceStats,
    LiveReport,
    Mirror,
    MirroredCheckpoint,
    NewWebhook,
    Problem,
    Push,
    Readiness,
    Receipt,
    Salience,
    SleepPolicy,
    Stats,
    Wake,
    Webhook,
    WebhookDelivery,
)
from .spool import Delivery, Rejected, Spool, Waiting
from .streams import ChatPiece, Event
from .sync_client import SleepClient
from .wire import Exchange, Page, Result

__all__ = [
    "DEFAULT_URL",
    "ENDED_STATUSES",
    "AliasMove",
    "Aliases",
    "AnswerNotUnderstood",
    "AnsweredBy",
    "AsyncSleepClient",
    "AsyncSpoolSender",
    "AuthorityUnusable",
    "BatchItem",
    "BatchReceipt",
    "ChatCompletion",
    "ChatPiece",
    "Check",
    "Checkpoint",
    "CheckpointFile",
    "CheckpointUse",
    "Current",
    "CycleError",
    "CycleMetrics",
    "CyclePlan",
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
    "Mirror",
    "MirroredCheckpoint",
    "NewWebhook",
    "Page",
    "Problem",
    "Progress",
    "Push",
    "Readiness",
    "Receipt",
    "Recipe",
    "Rejected",
    "RequestRefused",
    "Result",
    "Salience",
    "SleepClient",
    "SleepClientError",
    "SleepCycle",
    "SleepPolicy",
    "SleepPreview",
    "Spool",
    "SpoolFull",
    "SpoolSender",
    "SpoolUnusable",
    "Stats",
    "Verdict",
    "Waiting",
    "Wake",
    "Webhook",
    "WebhookDelivery",
]
