"""The wire models: what requests must and answers do look like. Routes import them from here."""

from __future__ import annotations

from app.api.schemas.checkpoints import (
    AliasesOut,
    AliasMoveOut,
    CheckpointDetailOut,
    CheckpointOut,
    CheckpointPatch,
    FileOut,
    PromoteIn,
    ProvenanceOut,
    RollbackIn,
)
from app.api.schemas.envelope import ListOut, RequestModel
from app.api.schemas.experiences import (
    BatchItemOut,
    BatchOut,
    ErasedOut,
    ExperienceDetailOut,
    ExperienceOut,
    ExperienceUseOut,
    ReceiptOut,
    SalienceOut,
)
from app.api.schemas.instances import InstanceIn, InstanceOut, PolicyIn, RecipeIn
from app.api.schemas.operations import (
    CheckpointSummaryOut,
    CycleSummaryOut,
    HealthOut,
    InstanceStatsOut,
    ReadyOut,
    StatsOut,
)
from app.api.schemas.sleep_cycles import (
    DecisionOut,
    DryRunOut,
    EventOut,
    OverridesIn,
    ReasonOut,
    RefusalOut,
    SleepCycleIn,
    SleepCycleOut,
)

__all__ = [
    "AliasMoveOut",
    "AliasesOut",
    "BatchItemOut",
    "BatchOut",
    "CheckpointDetailOut",
    "CheckpointOut",
    "CheckpointPatch",
    "CheckpointSummaryOut",
    "CycleSummaryOut",
    "DecisionOut",
    "DryRunOut",
    "ErasedOut",
    "EventOut",
    "ExperienceDetailOut",
    "ExperienceOut",
    "ExperienceUseOut",
    "FileOut",
    "HealthOut",
    "InstanceIn",
    "InstanceOut",
    "InstanceStatsOut",
    "ListOut",
    "OverridesIn",
    "PolicyIn",
    "PromoteIn",
    "ProvenanceOut",
    "ReadyOut",
    "ReasonOut",
    "ReceiptOut",
    "RecipeIn",
    "RefusalOut",
    "RequestModel",
    "RollbackIn",
    "SalienceOut",
    "SleepCycleIn",
    "SleepCycleOut",
    "StatsOut",
]
