"""The gate between training and promotion: a pure function of a cycle's report.

The verdict names every check with its value and its limit, so that a refusal explains itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

HELD_OUT_TOLERANCE_NATS = 5e-3
"""Held-out loss may rise by this much before it counts: bf16 rounding alone moves a token's
log-probability by 0.044 nats, and the mean over a dozen replies by up to 0.0055 (measured on
SmolLM2-135M with B drawn at 1e-7, which changes nothing)."""

INERT_LIMIT_NATS = 5e-3
"""An adapter that moves the held-out tokens' log-probabilities by less than this on average has
taught nothing. Measured in fp32 on SmolLM2-135M with 8 examples: 4e-5 for a learning rate of 1e-7,
4e-3 for 1e-5, 0.07 for two steps at the default 2e-4; 0.88 after 64 examples."""

RELOAD_TOLERANCE_NATS = 1e-3
"""The adapter read back from disk must give the loss of the one in memory to this precision. In one
process it was equal to the last bit in every run."""


class VerdictStatus(StrEnum):
    """Whether a checkpoint may be promoted."""

    ACCEPTED = "accepted"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOutLoss:
    """Mean loss in nats per supervised token over the held-out experiences."""

    nats_per_token: float
    tokens: int
    experiences: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeReply:
    """One greedy reply to a fixed prompt, by the model before and after the cycle."""

    prompt: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingReport:
    """What a trainer measured.

    Attributes:
        base_sha256: Fingerprint of the base model's weights and configuration.
        held_out_before: With the parent adapter, or the bare base.
        held_out_after: With the adapter in memory.
        held_out_reloaded: With the adapter read back from its files.
        effect_nats: Mean absolute change, before to reloaded, of the held-out tokens'
            log-probabilities.
        loss_curve: Training loss of every step, nats per supervised token, unweighted.
        trained_tokens: Tokens that went through forward and backward, without padding.
        supervised_tokens: Those of them on which loss was taken.
        seconds: Wall time by stage.
        environment: Versions, device, dtype, threads: what byte-equality depends on.
    """

    base_sha256: str
    held_out_before: HeldOutLoss
    held_out_after: HeldOutLoss
    held_out_reloaded: HeldOutLoss
    effect_nats: float
    loss_curve: tuple[float, ...]
    steps: int
    trained_tokens: int
    supervised_tokens: int
    trainable_parameters: int
    tokens_per_second: float
    peak_memory_bytes: int
    seconds: Mapping[str, float]
    environment: Mapping[str, str]
    replies: tuple[ProbeReply, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One rule of the gate: the measured value, its limit, and what it was compared with."""

    name: str
    is_passed: bool
    value: float
    limit: float
    baseline: float | None
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The gate's word on a checkpoint."""

    status: VerdictStatus
    checks: tuple[Check, ...]

    @property
    def is_accepted(self) -> bool:
        """Whether the checkpoint may be promoted without force."""
        return self.status is VerdictStatus.ACCEPTED

    def to_json(self) -> dict[str, Any]:
        """The verdict as it is stored and shown."""
        return {
            "status": self.status.value,
            "checks": [
                {
                    "name": check.name,
                    "passed": check.is_passed,
                    "value": check.value,
                    "limit": check.limit,
                    "baseline": check.baseline,
                    "text": check.text,
                }
                for check in self.checks
            ],
        }


def judge(report: TrainingReport) -> Verdict:
    """Accept a checkpoint if held-out loss did not rise and the reloaded adapter is not inert.

    With nothing to measure on there is nothing to accept.
    """
    before = report.held_out_before.nats_per_token
    after = report.held_out_reloaded.nats_per_token
    memory = report.held_out_after.nats_per_token
    tokens = report.held_out_reloaded.tokens
    checks = (
        Check(
            name="held_out_tokens",
            is_passed=tokens > 0,
            value=float(tokens),
            limit=1.0,
            baseline=None,
            text=f"measured on {tokens} held-out tokens",
        ),
        _check(
            name="held_out_loss",
            value=after,
            limit=before + HELD_OUT_TOLERANCE_NATS,
            baseline=before,
            text=f"held-out loss {before:.3f} -> {after:.3f} nats per token",
        ),
        _check(
            name="reload",
            value=abs(after - memory),
            limit=RELOAD_TOLERANCE_NATS,
            baseline=memory,
            text=f"loss {after:.4f} from the files, {memory:.4f} in memory",
        ),
        Check(
            name="inertness",
            is_passed=report.effect_nats >= INERT_LIMIT_NATS,
            value=report.effect_nats,
            limit=INERT_LIMIT_NATS,
            baseline=0.0,
            text=f"held-out log-probabilities moved by {report.effect_nats:.4f} nats on average",
        ),
    )
    is_accepted = all(check.is_passed for check in checks)
    status = VerdictStatus.ACCEPTED if is_accepted else VerdictStatus.REFUSED
    return Verdict(status=status, checks=checks)


def _check(*, name: str, value: float, limit: float, baseline: float, text: str) -> Check:
    """A check that passes at or below its limit; a value that is no number fails."""
    is_passed = math.isfinite(value) and value <= limit
    return Check(
        name=name, is_passed=is_passed, value=value, limit=limit, baseline=baseline, text=text
    )
