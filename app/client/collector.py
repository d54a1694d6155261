"""`ExperienceCollector` as the older session scripts know it, over the daemon; long by its notes.

One import changes, the calls and the keys of what they return stay:

    from sage_sleep_client import ExperienceCollector

What is different, and why:
- Scores, filter and memory live in the daemon, per instance: a restart forgets nothing.
- While the daemon is away, `add_exchange` keeps the exchange in a spool and says so: `stored` is
  False, `spooled` True, and every salience is NaN, which prints and compares without breaking a
  script, but is no score. Nothing else can be said truthfully before the daemon has seen it.
- `get_stats` and `get_collapse_status` never raise because the daemon is away; they say `reason`.
  `get_high_salience_experiences` and `consolidate_for_sleep` do, since an empty list would say
  that nothing was salient.
- `consolidate_for_sleep` shows what matters and trains nothing: the daemon sleeps by itself.
- A daemon that does not answer is waited for once. Until a thread has seen it answer again no call
  waits: exchanges go to the spool, questions get what is said above.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import re
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from .background import OneWait, SpoolSender
from .errors import DaemonUnavailable, RequestRefused, SleepClientError
from .request import DEFAULT_URL, Verify
from .results import BatchItem, Experience, Receipt
from .spool import Spool
from .sync_client import SleepClient
from .wire import Exchange

if TYPE_CHECKING:
    from typing_extensions import Self

DIMENSIONS = ("surprise", "novelty", "arousal", "reward", "conflict")
HIGH_SALIENCE = 0.7
WAIT_SECONDS = 3.0
LIST_SECONDS = 30.0
"""How long a list of all experiences may take, page by page. A guess."""

NOT_COUNTED = frozenset({"filtered", "below_threshold", "set_aside", "erased"})
"""Statuses that the older class would not have stored."""

RUNTIMES = ("ollama", "llamacpp", "llama.cpp", "vllm", "hf", "huggingface", "transformers")
"""Said before a model's name by those who run it (`ollama:qwen2.5:14b`); no part of the name."""

SIMILARITY_THRESHOLD = 0.85
RECENT_WINDOW = 10
FEWEST_REPLIES = 3
COLLAPSE_RATIO = 0.5


class ExperienceCollector:
    """Scores and keeps a session's exchanges, in the daemon or until then in a spool."""

    def __init__(
        self,
        buffer_path: Path | str | None = None,
        salience_threshold: float | None = None,
        machine_name: str | None = None,
        model_name: str | None = None,
        *,
        url: str | None = None,
        token: str | None = None,
        instance: str | None = None,
        session: str | None = None,
        spool_path: Path | str | None = None,
        wait_seconds: float = WAIT_SECONDS,
        verify: Verify = True,
    ) -> None:
        """Open the spool; the daemon is asked when there is something to tell it.

        Args:
            buffer_path: Of the older class. Neither read nor written; the spool lies beside it.
                `sage-sleep import` brings its experiences into the daemon.
            salience_threshold: `min_salience` of the instance if this creates it; otherwise its
                policy decides.
            machine_name, model_name: Name the instance, and go into each exchange's metadata. The
                daemon learns the instance's base from the model's name, which may be Ollama's; one
                that it does not know is not trained until somebody names its base.
            url, token: By default `SAGE_URL` and `SAGE_TOKEN` of the environment.
            instance: Slug; by default `SAGE_INSTANCE` of the environment, else
                `<machine>-<model>`, or `default` without those two. Created if the daemon does not
                have it and the token may.
            session: Free text, kept with each exchange.
            spool_path: By default beside `buffer_path`, or in `~/.local/state/sage-sleep`.
            wait_seconds: How long a daemon that does not answer is waited for, once.
            verify: As of `SleepClient`: over TLS, a PEM file of the authorities to trust.

        Raises: AuthorityUnusable, SpoolUnusable.
        """
        url = url or os.environ.get("SAGE_URL") or DEFAULT_URL
        token = token or os.environ.get("SAGE_TOKEN")
        named = instance or os.environ.get("SAGE_INSTANCE")
        self.instance = named or _slug(machine_name, model_name)
        self.session = session
        self._salience_threshold = salience_threshold
        self._origin = {"machine": machine_name, "model": model_name}
        self._model_name = model_name[:256] if model_name else None
        self._wait_seconds = wait_seconds
        self._recent: deque[str] = deque(maxlen=RECENT_WINDOW)
        self._has_instance = False
        self._client = SleepClient(
            url, token=token, timeout_seconds=wait_seconds, retry_seconds=0, verify=verify
        )
        self.spool = Spool(spool_path or _spool_path(buffer_path, url))
        self._sender = SpoolSender(self._client, self.spool)
        self._daemon = OneWait(self._sender, url=url, wait_seconds=wait_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Deliver what can be delivered in a few seconds; the rest waits for the next session."""
        if not self._sender.is_away:
            with contextlib.suppress(SleepClientError):
                self._daemon.ask(lambda: self._sender.flush(self._wait_seconds))
        self._sender.close(self._wait_seconds)
        self._client.close()
        self.spool.close()

    def flush(self, max_seconds: float = 30.0) -> bool:
        """Deliver what waits; returns whether the daemon has everything."""
        with contextlib.suppress(DaemonUnavailable):
            self._ensure_instance()
        return self._sender.flush(max_seconds)

    def add_exchange(
        self,
        prompt: str,
        response: str,
        session_number: int | None = None,
        phase: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        tool_calls: Sequence[Mapping[str, Any]] | None = None,
        *,
        history: Sequence[Mapping[str, Any]] | None = None,
        system_prompt: str | None = None,
        finish_reason: str | None = None,
    ) -> dict[str, Any]:
        """Keep one exchange, and return its score if the daemon answers.

        Args:
            history, system_prompt, finish_reason: As of `Exchange`, where the runner has them: what
                was in view of the model is what it learns to answer.

        Returns:
            `salience` (five components and `total`), `stored`, `filtered`, `filter_reason`,
            `similarity`, `experience_id`, `spooled`, `duplicate`, `reason`.

        Raises: SpoolFull, SpoolUnusable when neither daemon nor disk takes the exchange.
        """
        self._recent.append(response)
        origin = {name: value for name, value in self._origin.items() if value}
        exchange = Exchange(
            prompt=prompt,
            response=response,
            instance=self.instance,
            session=self.session,
            session_number=session_number,
            phase=phase,
            occurred_at=datetime.now(timezone.utc),
            metadata={**(metadata or {}), **origin} or None,
            tool_calls=tuple(_tool_call(call) for call in tool_calls or ()),
            history=tuple(history or ()),
            system_prompt=system_prompt,
            finish_reason=finish_reason,
        )
        seq = self.spool.add(exchange)
        item = self._find_out(seq, exchange)
        if item is None:
            return _answer(spooled=True, reason=self._sender.last_error)
        if item.experience is None:
            return _answer(reason=item.problem.detail if item.problem else None)
        return _answer(receipt=item.experience, reason=item.experience.reason)

    def get_stats(self) -> dict[str, Any]:
        """Count and average what the instance has collected; NaN while the daemon is away."""
        stats: dict[str, Any] = {
            "total_experiences": 0,
            "avg_salience": 0.0,
            "high_salience_count": 0,
            "dimension_averages": dict.fromkeys(DIMENSIONS, 0.0),
            "oldest_experience": None,
            "newest_experience": None,
            "spooled": len(self.spool),
            "reason": None,
        }
        try:
            found = self._daemon.ask(
                lambda: self._client.get_experience_summary(
                    self.instance, min_salience=HIGH_SALIENCE
                )
            )
        except SleepClientError as error:
            if error.status == httpx.codes.NOT_FOUND:  # made with its first exchange
                return stats
            unknown = dict.fromkeys(DIMENSIONS, math.nan)
            why = {"avg_salience": math.nan, "dimension_averages": unknown, "reason": str(error)}
            return {**stats, **why}
        return {
            **stats,
            "total_experiences": found.count,
            "avg_salience": found.averages.total if found.averages else 0.0,
            "high_salience_count": found.salient,
            "dimension_averages": {
                name: getattr(found.averages, name) if found.averages else 0.0
                for name in DIMENSIONS
            },
            "oldest_experience": _isoformat(found.oldest_at),
            "newest_experience": _isoformat(found.newest_at),
        }

    def get_high_salience_experiences(
        self, min_salience: float = HIGH_SALIENCE, limit: int | None = None
    ) -> list[dict[str, Any]]:
        """Return experiences as the older class kept them, most salient first.

        Raises: SleepClientError when the daemon is away.
        """
        try:
            every = self._daemon.ask(
                lambda: list(
                    self._client.iterate_experiences(
                        instance=self.instance, min_salience=min_salience
                    )
                ),
                max_seconds=LIST_SECONDS,
            )
        except RequestRefused as error:
            if error.status != httpx.codes.NOT_FOUND:
                raise
            every = []
        found = [experience for experience in every if experience.status not in NOT_COUNTED]
        found.sort(key=lambda experience: -experience.salience.total)
        return [_as_record(experience) for experience in found[:limit]]

    def consolidate_for_sleep(self, min_salience: float = 0.6) -> list[dict[str, Any]]:
        """Return what is salient enough to sleep on; the daemon chooses and trains by itself.

        Raises: SleepClientError when the daemon is away.
        """
        return self.get_high_salience_experiences(min_salience=min_salience)

    def get_collapse_status(self) -> dict[str, Any]:
        """Judge the instance's newest replies; those of this session while the daemon is away."""
        try:
            page = self._daemon.ask(
                lambda: self._client.list_experiences(instance=self.instance, limit=RECENT_WINDOW)
            )
        except SleepClientError as error:
            return {**collapse_status(list(self._recent)), "reason": str(error)}
        return collapse_status([item.response for item in page.data if item.status != "erased"])

    def _find_out(self, seq: int, exchange: Exchange) -> BatchItem | None:
        """Deliver what was just spooled, and return what became of it; None while it waits."""

        def deliver() -> BatchItem | None:
            self._ensure_instance()
            return self._sender.deliver_one(seq, exchange)

        item = None
        with contextlib.suppress(SleepClientError):
            item = self._daemon.ask(deliver)
        if item is None:
            self._sender.deliver_soon()
        return item

    def _ensure_instance(self) -> None:
        """Create the instance if it is missing; what else is wrong, posting will show.

        Raises: DaemonUnavailable.
        """
        if self._has_instance:
            return
        try:
            self._client.get_instance(self.instance)
        except RequestRefused as error:
            if error.status == httpx.codes.NOT_FOUND:
                self._create_instance()
        except DaemonUnavailable:
            raise
        except SleepClientError:
            return
        else:
            self._has_instance = True

    def _create_instance(self) -> None:
        threshold = self._salience_threshold
        policy = None if threshold is None else {"min_salience": threshold}
        try:
            self._client.put_instance(self.instance, model_name=self._model_name, policy=policy)
        except SleepClientError:
            return
        self._has_instance = True


def collapse_status(responses: Sequence[str]) -> dict[str, Any]:
    """Judge the newest replies of a model, at most `RECENT_WINDOW` of them.

    Two replies are alike from a Jaccard index of 0.85 on: `|A & B| / |A | B|` over their sets of
    lower-cased words. More than half of all pairs alike means collapse.
    """
    words = [frozenset(response.lower().split()) for response in responses[:RECENT_WINDOW]]
    similarities = [_jaccard(first, second) for first, second in itertools.combinations(words, 2)]
    alike = sum(similarity >= SIMILARITY_THRESHOLD for similarity in similarities)
    ratio = alike / len(similarities) if similarities else 0.0
    is_known = len(words) >= FEWEST_REPLIES
    is_collapsed = is_known and ratio > COLLAPSE_RATIO
    return {
        "collapse_detected": is_collapsed,
        "repetition_ratio": ratio,
        "high_similarity_pairs": alike,
        "total_pairs": len(similarities),
        "recent_responses": len(words),
        "recommendation": "disable_lora_and_investigate" if is_collapsed else "normal_operation",
        "reason": None if is_known else "insufficient_data",
    }


def _jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    union = len(first | second)
    return len(first & second) / union if union else 0.0


def _answer(
    *, receipt: Receipt | None = None, spooled: bool = False, reason: str | None
) -> dict[str, Any]:
    names = ("total", *DIMENSIONS)
    return {
        "salience": {
            name: math.nan if receipt is None else getattr(receipt.salience, name) for name in names
        },
        "stored": receipt is not None and receipt.stored,
        "filtered": receipt is not None and receipt.filtered,
        "filter_reason": receipt.filter_reason if receipt else None,
        "similarity": receipt.similarity if receipt else math.nan,
        "experience_id": receipt.id if receipt else None,
        "duplicate": receipt is not None and receipt.duplicate,
        "spooled": spooled,
        "reason": reason,
    }


def _as_record(experience: Experience) -> dict[str, Any]:
    """An experience with the keys of the older buffer file."""
    session = experience.session_number
    record: dict[str, Any] = {
        "id": experience.id,
        "prompt": experience.prompt,
        "response": experience.response,
        "salience": {name: getattr(experience.salience, name) for name in ("total", *DIMENSIONS)},
        "session": experience.session if session is None else session,
        "phase": experience.phase,
        "timestamp": _isoformat(experience.occurred_at or experience.received_at),
        "metadata": dict(experience.metadata),
    }
    if experience.tool_calls:
        record["tool_calls"] = [call.raw for call in experience.tool_calls]
    return record


def _tool_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """A tool call of the older scripts (`result` or `error`, arguments of any shape) as ours."""
    arguments = call.get("arguments") or {}
    return {
        "name": str(call.get("name") or "unnamed"),
        "arguments": dict(arguments) if isinstance(arguments, Mapping) else {"value": arguments},
        "success": bool(call.get("success", False)),
        "result": call.get("result", call.get("error")),
    }


def _slug(machine: str | None, model: str | None) -> str:
    """`<machine>-<model>`, with what a slug cannot hold made a hyphen."""
    if not (machine and model):
        return "default"
    runtime, _, rest = model.partition(":")
    model = rest if rest and runtime.lower() in RUNTIMES else model
    name = re.sub(r"[^a-z0-9._-]+", "-", f"{machine}-{model.rpartition('/')[2]}".lower())
    return name[:64].strip("-._") or "default"


def _spool_path(buffer_path: Path | str | None, url: str) -> Path:
    if buffer_path is not None:
        return Path(buffer_path).with_suffix(".spool.db")
    place = re.sub(r"[^a-z0-9]+", "-", urlsplit(url).netloc.lower()).strip("-")
    return Path.home() / ".local" / "state" / "sage-sleep" / f"spool-{place}.db"


def _isoformat(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
