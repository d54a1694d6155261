"""`AsyncSleepClient`: every operation of the daemon, a method each; long since the API is.

`sync_client.py` is written from this file by `make client`; what needs no waiting stands in the
other modules, once.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from .async_connection import AsyncConnection, AsyncEvents
from .cycles import CycleReport, Decision, SleepCycle, SleepPreview
from .downloads import ExportDownload, Staging, ask_for, check_names, is_being_made, is_there
from .errors import DaemonUnavailable, DownloadCorrupt, RequestRefused, SleepClientError
from .request import (
    DEFAULT_URL,
    RETRY_SECONDS,
    TIMEOUT_SECONDS,
    Request,
    Verify,
    asleep,
    awork,
    backoff_seconds,
    batch_request,
    if_match,
    json_of,
    segment,
)
from .results import (
    Aliases,
    AliasMove,
    BatchItem,
    BatchReceipt,
    ChatCompletion,
    Checkpoint,
    CheckpointUse,
    Current,
    Erasure,
    Experience,
    ExperienceSummary,
    Instance,
    LiveReport,
    Mirror,
    NewWebhook,
    Push,
    Readiness,
    Receipt,
    Stats,
    Wake,
    Webhook,
    WebhookDelivery,
)
from .spool import BATCH, REFUSING_STATUSES, Delivery, Spool, refused_alone, settle
from .streams import ChatPiece, Event, PieceParser, chat_request
from .wire import MAX_BATCH_BYTES, Exchange, Page, Result, decode, in_batches, to_wire

if TYPE_CHECKING:
    from typing_extensions import Self

R = TypeVar("R", bound=Result)

FOLLOW_INTERVAL_SECONDS = 0.5
CURRENT_POLL_SECONDS = 15.0
MAX_FAILED_DOWNLOADS = 5
STATS_PER_PAGE = 200

AT_WORK_STATUSES = frozenset({"ready", "degraded"})
_GONE = frozenset({httpx.codes.NOT_FOUND, httpx.codes.GONE})


class AsyncSleepClient:
    """A connection to one daemon; close it, or use it in a block. Threads or tasks may share it.

    `SleepClient` blocks, for scripts and threads; `AsyncSleepClient` has the same methods and
    results for asyncio. All raise SleepClientError, whose `status` is None where nobody answered.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        token: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
        verify: Verify = True,
    ) -> None:
        """Connect when first asked for something.

        Args:
            url: Where the daemon listens.
            token: Sent as `Authorization: Bearer`; never read from the environment here.
            timeout_seconds: How long to wait for a connection, and for each answer.
            retry_seconds: How long a request that is safe to repeat is tried again; 0 for once.
            verify: Over TLS, a PEM file of the authorities to trust, such as a private CA's.

        Raises: AuthorityUnusable.
        """
        self._daemon = AsyncConnection(
            url,
            token=token,
            timeout_seconds=timeout_seconds,
            retry_seconds=retry_seconds,
            verify=verify,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._daemon.aclose()

    @property
    def url(self) -> str:
        """Where the daemon listens."""
        return self._daemon.url

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._daemon.is_closed

    # ---- Exchanges and experiences

    async def post_experience(self, exchange: Exchange | Mapping[str, Any]) -> Receipt:
        """Post one exchange. Posted again, it changes nothing and says `duplicate`."""
        return await self._daemon.ask(Receipt, "POST", "/v1/experiences", body=to_wire(exchange))

    async def post_experiences(
        self, exchanges: Iterable[Exchange | Mapping[str, Any]]
    ) -> BatchReceipt:
        """Post any number of exchanges in order, in batches; a bad one does not stop the others.

        After an error some batches may be stored; posting all of it again stores the rest.
        """
        items: list[Mapping[str, Any]] = []
        for batch in in_batches([to_wire(exchange) for exchange in exchanges]):
            answer = json_of(await self._daemon.send(batch_request(batch)))
            items += [
                {**item, "index": index}
                for index, item in enumerate(answer["results"], start=len(items))
            ]
        counts = {
            name: sum(item["result"] == name for item in items)
            for name in ("inserted", "duplicate", "rejected")
        }
        return decode(BatchReceipt, {**counts, "results": items})

    async def deliver(
        self, spool: Spool, *, until: int | None = None, max_seconds: float | None = None
    ) -> Delivery:
        """Deliver what waits in a spool, in one pass; what comes in meanwhile, too.

        Args:
            until: Stop behind this number.
            max_seconds: Begin no further batch after so long.

        Raises: DaemonUnavailable, RequestRefused; what was delivered until then is out of the
            spool.
        """
        results: dict[int, BatchItem] = {}
        held_back: dict[int, str] = {}
        started_at = time.monotonic()
        after, at_most = 0, BATCH
        while until is None or after < until:
            if max_seconds is not None and time.monotonic() - started_at > max_seconds:
                break
            waiting = await awork(spool.peek, at_most, after=after, max_bytes=MAX_BATCH_BYTES)
            if not waiting:
                break
            request = batch_request([entry.exchange for entry in waiting])
            try:
                answer = json_of(await self._daemon.send(request, retry_seconds=0))
                items = [decode(BatchItem, item) for item in answer["results"]]
            except RequestRefused as error:
                if error.status not in REFUSING_STATUSES:
                    raise
                if len(waiting) > 1:
                    at_most = len(waiting) // 2
                    continue
                items = [refused_alone(error)]
            settled = await awork(settle, spool, waiting, items)
            results |= settled.results
            held_back |= settled.held_back
            after, at_most = waiting[-1].seq, BATCH
        return Delivery(results=results, held_back=held_back)

    async def list_experiences(
        self,
        *,
        instance: str | None = None,
        status: str | None = None,
        session: str | None = None,
        session_number: int | None = None,
        phase: str | None = None,
        min_salience: float | None = None,
        text: str | None = None,
        id_prefix: str | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> Page[Experience]:
        """Return one page of experiences, newest first; `text` is looked for in both texts."""
        params = {
            "instance": instance,
            "status": status,
            "session": session,
            "session_number": session_number,
            "phase": phase,
            "min_salience": min_salience,
            "q": text,
            "id_prefix": id_prefix,
            "cursor": cursor,
            "limit": limit,
        }
        return await self._daemon.get_page(Experience, "/v1/experiences", params)

    async def iterate_experiences(
        self,
        *,
        instance: str | None = None,
        status: str | None = None,
        session: str | None = None,
        session_number: int | None = None,
        phase: str | None = None,
        min_salience: float | None = None,
        text: str | None = None,
        limit: int = 500,
    ) -> AsyncIterator[Experience]:
        """Yield all experiences, newest first, a page of `limit` at a time.

        One that arrives meanwhile is not among them; each is as it was when its page was read.
        """
        cursor: str | None = None
        while True:
            page = await self.list_experiences(
                instance=instance,
                status=status,
                session=session,
                session_number=session_number,
                phase=phase,
                min_salience=min_salience,
                text=text,
                cursor=cursor,
                limit=limit,
            )
            for experience in page.data:
                yield experience
            if page.next is None:
                return
            cursor = page.next

    async def get_experience(self, experience_id: str) -> Experience:
        """Return one experience, with the cycles and checkpoints that hold it."""
        return await self._daemon.get(Experience, f"/v1/experiences/{segment(experience_id)}")

    async def erase_experience(self, experience_id: str) -> Erasure:
        """Erase an experience's text for good, and learn which checkpoints were trained on it."""
        return await self._daemon.ask(
            Erasure, "DELETE", f"/v1/experiences/{segment(experience_id)}"
        )

    async def get_experience_summary(
        self, instance: str = "default", *, min_salience: float = 0.7
    ) -> ExperienceSummary:
        """Return how many experiences counted, how salient they are, and since when."""
        path = f"/v1/instances/{segment(instance)}/experience-summary"
        params = {"min_salience": min_salience}
        return await self._daemon.get(ExperienceSummary, path, params)

    # ---- Sleep cycles

    async def request_sleep(
        self,
        instance: str = "default",
        *,
        force: bool = False,
        overrides: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> SleepCycle:
        """Ask for a sleep cycle; `force` skips the waiting rules, never the gate.

        Args:
            overrides: Hyper-parameters for this one cycle.
            idempotency_key: To ask again across restarts of the session; by default one per call.

        Raises: RequestRefused, with the reasons, when sleep is not due or a cycle is active.
        """
        body = {"instance": instance, "force": force, "overrides": dict(overrides or {})}
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return await self._daemon.ask(
            SleepCycle, "POST", "/v1/sleep-cycles", body=body, headers=headers
        )

    async def preview_sleep(
        self,
        instance: str = "default",
        *,
        force: bool = False,
        overrides: Mapping[str, Any] | None = None,
    ) -> SleepPreview:
        """Return what a cycle would train on now; nothing starts."""
        body = {
            "instance": instance,
            "force": force,
            "overrides": dict(overrides or {}),
            "dry_run": True,
        }
        return await self._daemon.ask(SleepPreview, "POST", "/v1/sleep-cycles", body=body)

    async def get_sleep_cycle(self, cycle_id: str) -> SleepCycle:
        """Return one cycle: its plan, progress, metrics and verdict."""
        return await self._daemon.get(SleepCycle, f"/v1/sleep-cycles/{segment(cycle_id)}")

    async def list_sleep_cycles(
        self,
        *,
        instance: str | None = None,
        status: str | None = None,
        id_prefix: str | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> Page[SleepCycle]:
        """Return one page of cycles, newest first."""
        params = {
            "instance": instance,
            "status": status,
            "id_prefix": id_prefix,
            "cursor": cursor,
            "limit": limit,
        }
        return await self._daemon.get_page(SleepCycle, "/v1/sleep-cycles", params)

    async def follow_sleep_cycle(
        self, cycle_id: str, *, interval_seconds: float = FOLLOW_INTERVAL_SECONDS
    ) -> AsyncIterator[SleepCycle]:
        """Yield a cycle each time it is looked at, until and with its end."""
        while True:
            cycle = await self.get_sleep_cycle(cycle_id)
            yield cycle
            if cycle.is_ended:
                return
            await asleep(interval_seconds)

    async def cancel_sleep_cycle(self, cycle_id: str) -> SleepCycle:
        """Cancel a queued cycle at once, or ask a running one to stop; its experiences go back.

        Sent again only if it never arrived: a second one would be refused, since the cycle has
        ended.
        """
        path = f"/v1/sleep-cycles/{segment(cycle_id)}/cancel"
        return await self._daemon.ask(SleepCycle, "POST", path, is_repeatable=False)

    async def get_cycle_report(self, cycle_id: str) -> CycleReport:
        """Return what a cycle learned and kept, the gate's verdict, and replies side by side."""
        path = f"/v1/sleep-cycles/{segment(cycle_id)}/report"
        return await self._daemon.get(CycleReport, path, {"format": "json"})

    async def list_sleep_cycle_events(
        self, cycle_id: str, *, after: int = 0, limit: int | None = None
    ) -> Page[Event]:
        """Return one page of a cycle's events, oldest first; `next` goes into `after`."""
        path = f"/v1/sleep-cycles/{segment(cycle_id)}/events"
        params = {"after": after, "limit": limit}
        return await self._daemon.get_page(Event, path, params)

    async def follow_sleep_cycle_events(
        self, cycle_id: str, *, after: int = 0
    ) -> AsyncIterator[Event]:
        """Yield a cycle's events as they come, each once, until its end.

        Raises: DaemonUnavailable when the daemon stays away longer than the time for retries.
        """
        events = AsyncEvents(
            self._daemon, f"/v1/sleep-cycles/{segment(cycle_id)}/events", after=after
        )
        while True:
            # Known before the stream is opened: one that ends after that holds all there is.
            cycle = await self.get_sleep_cycle(cycle_id)
            async with events:
                while (found := await events.take()) is not None:
                    for event in found:
                        yield event
            if events.is_whole and cycle.is_ended:
                return
            if not (events.is_whole and events.is_live):
                await asleep(events.pause_seconds)

    # ---- Checkpoints

    async def list_checkpoints(
        self,
        *,
        instance: str | None = None,
        status: str | None = None,
        id_prefix: str | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> Page[Checkpoint]:
        """Return one page of checkpoints, newest first."""
        params = {
            "instance": instance,
            "status": status,
            "id_prefix": id_prefix,
            "cursor": cursor,
            "limit": limit,
        }
        return await self._daemon.get_page(Checkpoint, "/v1/checkpoints", params)

    async def get_checkpoint(self, checkpoint_id: str) -> Checkpoint:
        """Return one checkpoint."""
        return await self._daemon.get(Checkpoint, f"/v1/checkpoints/{segment(checkpoint_id)}")

    async def list_checkpoint_experiences(
        self,
        checkpoint_id: str,
        *,
        role: str | None = None,
        ancestors: bool = True,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> Page[CheckpointUse]:
        """Return one page of what a checkpoint, with its ancestors, was made with."""
        path = f"/v1/checkpoints/{segment(checkpoint_id)}/experiences"
        params = {"role": role, "ancestors": ancestors, "cursor": cursor, "limit": limit}
        return await self._daemon.get_page(CheckpointUse, path, params)

    async def download_checkpoint(
        self, checkpoint: Checkpoint | str, directory: Path | str
    ) -> Path:
        """Bring a checkpoint below a directory and return its own; one that is there is verified.

        Args:
            checkpoint: As the registry gave it, or its id.

        Raises: DownloadCorrupt, DaemonUnavailable, RequestRefused, OSError.
        """
        if isinstance(checkpoint, str):
            checkpoint = await self.get_checkpoint(checkpoint)
        check_names(checkpoint)
        target = Path(directory) / checkpoint.id
        if await awork(is_there, target, checkpoint):
            return target
        staging = await awork(Staging, Path(directory), checkpoint)
        try:
            await self._daemon.fetch(staging)
            await awork(staging.finish, target)
        finally:
            staging.discard()
        return target

    async def download_export(
        self, checkpoint_id: str, name: str, target: Path | str, *, wait_seconds: float = 3600.0
    ) -> Path:
        """Have a checkpoint made into another runtime's file, and bring that here.

        Args:
            name: `adapter.gguf`, `merged-f16.gguf`, `merged-q8_0.gguf`, `merged-safetensors.tar`.
            target: The file that it becomes; one that is there is replaced.
            wait_seconds: How long it may take to make it.

        Raises: DownloadCorrupt, DaemonUnavailable, RequestRefused, OSError.
        """
        gives_up_at = time.monotonic() + wait_seconds
        while True:
            try:
                answer = await self._daemon.send(ask_for(checkpoint_id, name))
                break
            except DaemonUnavailable as error:
                if not is_being_made(error) or time.monotonic() > gives_up_at:
                    raise
            await asleep(1.0)
        download = await awork(ExportDownload, checkpoint_id, name, Path(target), answer)
        try:
            await self._daemon.fetch(download)
            await awork(download.finish)
        finally:
            download.discard()
        return Path(target)

    async def promote(
        self,
        checkpoint_id: str,
        *,
        force: bool = False,
        reason: str | None = None,
        actor: str = "client",
        revision: int | None = None,
    ) -> Aliases:
        """Make a checkpoint `current`; a refused one needs `force` and a reason.

        Args:
            revision: Of the aliases to act on; with another, the daemon refuses with 412.
        """
        return await self._daemon.ask(
            Aliases,
            "POST",
            f"/v1/checkpoints/{segment(checkpoint_id)}/promote",
            body={"force": force, "reason": reason, "actor": actor},
            headers=if_match(revision),
            is_repeatable=revision is None,
        )

    async def patch_checkpoint(self, checkpoint_id: str, **changes: Any) -> Checkpoint:
        """Change a checkpoint's `note` or `pinned`; what is not named stays."""
        path = f"/v1/checkpoints/{segment(checkpoint_id)}"
        return await self._daemon.ask(Checkpoint, "PATCH", path, body=changes)

    async def delete_checkpoint(self, checkpoint_id: str) -> None:
        """Delete a checkpoint's files; its record stays."""
        await self._daemon.send(Request("DELETE", f"/v1/checkpoints/{segment(checkpoint_id)}"))

    async def report_checkpoint(
        self,
        checkpoint_id: str,
        *,
        session: str,
        repetition_ratio: float,
        score: float | None = None,
        note: str | None = None,
        report_id: str | None = None,
    ) -> LiveReport:
        """Tell what a session found of the checkpoint it runs; enough sessions take it back.

        Needs a token with the scope `report`, where one is demanded.

        Args:
            repetition_ratio: Share of replies that repeat, 0..1.
            score: How good the replies were, 0..1; None where the session does not say.
            report_id: The session's own id: sent again, it is kept once.
        """
        return await self._daemon.ask(
            LiveReport,
            "POST",
            f"/v1/checkpoints/{segment(checkpoint_id)}/reports",
            body={
                "session": session,
                "repetition_ratio": repetition_ratio,
                "score": score,
                "note": note,
                "report_id": report_id,
            },
            headers={"Idempotency-Key": uuid.uuid4().hex},
        )

    async def list_checkpoint_reports(
        self, checkpoint_id: str, *, cursor: str | None = None, limit: int | None = None
    ) -> Page[LiveReport]:
        """Return one page of a checkpoint's reports, newest first."""
        path = f"/v1/checkpoints/{segment(checkpoint_id)}/reports"
        params = {"cursor": cursor, "limit": limit}
        return await self._daemon.get_page(LiveReport, path, params)

    # ---- Instances and their aliases

    async def list_instances(self) -> Page[Instance]:
        """Return all instances, by slug."""
        return await self._daemon.get_page(Instance, "/v1/instances")

    async def get_instance(self, instance: str = "default") -> Instance:
        """Return one instance, with every default filled in."""
        return await self._daemon.get(Instance, f"/v1/instances/{segment(instance)}")

    async def put_instance(
        self,
        instance: str,
        *,
        base_model: str | None = None,
        model_name: str | None = None,
        system_prompt: str | None = None,
        timezone: str | None = None,
        policy: Mapping[str, Any] | None = None,
        recipe: Mapping[str, Any] | None = None,
    ) -> Instance:
        """Create an instance or replace its settings; what is left out follows the daemon's."""
        values = {
            "base_model": base_model,
            "model_name": model_name,
            "system_prompt": system_prompt,
            "timezone": timezone,
            "policy": None if policy is None else dict(policy),
            "recipe": None if recipe is None else dict(recipe),
        }
        body = {name: value for name, value in values.items() if value is not None}
        path = f"/v1/instances/{segment(instance)}"
        return await self._daemon.ask(Instance, "PUT", path, body=body)

    async def patch_instance(self, instance: str = "default", **changes: Any) -> Instance:
        """Change single settings of an instance: those of `put_instance`; None takes one back."""
        path = f"/v1/instances/{segment(instance)}"
        return await self._daemon.ask(Instance, "PATCH", path, body=changes)

    async def get_aliases(self, instance: str = "default") -> Aliases:
        """Return which checkpoint each alias names."""
        path = f"/v1/instances/{segment(instance)}/aliases"
        return await self._daemon.get(Aliases, path)

    async def list_alias_history(
        self, instance: str = "default", *, cursor: str | None = None, limit: int | None = None
    ) -> Page[AliasMove]:
        """Return one page of the aliases' moves, newest first: from, to, by whom, why."""
        path = f"/v1/instances/{segment(instance)}/aliases/history"
        params = {"cursor": cursor, "limit": limit}
        return await self._daemon.get_page(AliasMove, path, params)

    async def rollback(
        self,
        instance: str = "default",
        *,
        reason: str | None = None,
        actor: str = "client",
        revision: int | None = None,
    ) -> Aliases:
        """Take `current` one promotion back, down to the bare base model.

        Sent again only if it never arrived: twice would go back twice.

        Args:
            revision: Of the aliases to act on; with another, the daemon refuses with 412.
        """
        return await self._daemon.ask(
            Aliases,
            "POST",
            f"/v1/instances/{segment(instance)}/rollback",
            body={"reason": reason, "actor": actor},
            headers=if_match(revision),
            is_repeatable=False,
        )

    async def dismiss_candidate(
        self,
        instance: str = "default",
        *,
        reason: str | None = None,
        actor: str = "client",
        revision: int | None = None,
    ) -> Aliases:
        """Refuse the `candidate`: its experiences go back to the buffer.

        Sent again only if it never arrived: a second one would find no candidate.

        Args:
            revision: Of the aliases to act on; with another, the daemon refuses with 412.
        """
        return await self._daemon.ask(
            Aliases,
            "POST",
            f"/v1/instances/{segment(instance)}/dismiss",
            body={"reason": reason, "actor": actor},
            headers=if_match(revision),
            is_repeatable=False,
        )

    async def rebuild(
        self, instance: str = "default", *, reason: str | None = None, actor: str = "client"
    ) -> SleepCycle:
        """Queue a cycle from the base over what is still consolidated."""
        return await self._daemon.ask(
            SleepCycle,
            "POST",
            f"/v1/instances/{segment(instance)}/rebuild",
            body={"reason": reason, "actor": actor},
            headers={"Idempotency-Key": uuid.uuid4().hex},
        )

    async def push(self, instance: str = "default", *, runtime: str = "ollama") -> Push:
        """Bring what is live into a runtime beside the daemon, as `<instance>:latest`.

        Raises: RequestRefused, also while the model is being made (503): ask again.
        """
        path = f"/v1/instances/{segment(instance)}/push"
        return await self._daemon.ask(Push, "POST", path, body={"runtime": runtime})

    async def get_mirror(self, instance: str = "default") -> Mirror:
        """What lies in the mirror, as an instance sees it."""
        return await self._daemon.ask(Mirror, "GET", f"/v1/instances/{segment(instance)}/mirror")

    async def pull_from_mirror(self, checkpoint: str, instance: str = "default") -> SleepCycle:
        """Queue a cycle that judges a checkpoint of another machine; it trains nothing.

        Args:
            checkpoint: Its name in the mirror.
        """
        return await self._daemon.ask(
            SleepCycle,
            "POST",
            f"/v1/instances/{segment(instance)}/mirror/pull",
            body={"checkpoint": checkpoint},
            headers={"Idempotency-Key": uuid.uuid4().hex},
        )

    async def wake(self, instance: str = "default", *, actor: str = "client") -> Wake:
        """Let the instance's cycle make way until no exchange has come for a while.

        A running one gives its memory back within seconds, and goes on from a snapshot.
        """
        path = f"/v1/instances/{segment(instance)}/wake"
        return await self._daemon.ask(Wake, "POST", path, body={"actor": actor})

    async def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        model: str = "default",
        record: bool = False,
        **wishes: Any,
    ) -> ChatCompletion:
        """Return the reply of what is live of an instance to a conversation.

        Args:
            messages: `{"role": ..., "content": ...}`, the user's last.
            model: An instance, or `INSTANCE@base`, `@previous`, `@candidate`, `@CHECKPOINT`.
            record: Keep the exchange as an experience.
            wishes: Further fields, such as `temperature`, `max_tokens`, `stop` and `session`.
        """
        request = chat_request(messages, model, {**wishes, "record": record})
        return decode(ChatCompletion, json_of(await self._daemon.send(request)))

    async def stream_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        model: str = "default",
        record: bool = False,
        **wishes: Any,
    ) -> AsyncIterator[ChatPiece]:
        """Yield the same reply in pieces as it is written; it is kept before the last one comes.

        Raises: DaemonUnavailable, also where the reply breaks off; RequestRefused.
        """
        request = chat_request(messages, model, {**wishes, "record": record, "stream": True})
        response = await self._daemon.open(request)
        parser = PieceParser()
        try:
            async for chunk in response.aiter_bytes():
                for piece in parser.feed(chunk):
                    yield piece
        except httpx.TransportError as error:
            raise DaemonUnavailable(f"The reply broke off: {error}") from error
        finally:
            await response.aclose()
        parser.end()

    async def get_sleep_decision(self, instance: str = "default") -> Decision:
        """Return whether the instance should sleep now, and every reason with its numbers."""
        path = f"/v1/instances/{segment(instance)}/sleep-decision"
        return await self._daemon.get(Decision, path)

    async def list_instance_events(
        self,
        instance: str = "default",
        *,
        subject: str | None = None,
        progress: bool = True,
        newest_first: bool = False,
        after: int | None = None,
        limit: int | None = None,
    ) -> Page[Event]:
        """Return one page of an instance's events; `next` goes into `after`.

        Args:
            subject: Only events about this, such as `checkpoint`.
            progress: Whether running cycles' progress is among them: each stage, and some steps.
            newest_first: Begin with the last event instead of the first.
        """
        params = {
            "subject": subject,
            "progress": None if progress else "false",
            "order": "newest" if newest_first else None,
            "after": after,
            "limit": limit,
        }
        path = f"/v1/instances/{segment(instance)}/events"
        return await self._daemon.get_page(Event, path, params)

    async def watch_instance_events(
        self, instance: str = "default", *, subject: str | None = None, after: int | None = None
    ) -> AsyncIterator[Event]:
        """Yield an instance's events as they come, without end, through restarts of the daemon.

        Args:
            subject: Only events about this, such as `checkpoint`.
            after: Begin behind this event; None to begin with what comes from now on.

        Raises: RequestRefused.
        """
        path = f"/v1/instances/{segment(instance)}/events"
        events = AsyncEvents(self._daemon, path, {"subject": subject}, after=after)
        while True:
            async with events:
                while (found := await events.take()) is not None:
                    for event in found:
                        yield event
            await asleep(events.pause_seconds)

    async def watch_current(
        self,
        instance: str = "default",
        directory: Path | str = "checkpoints",
        *,
        poll_seconds: float = CURRENT_POLL_SECONDS,
    ) -> AsyncIterator[Current]:
        """Yield what is current now, then each checkpoint that becomes so, downloaded and verified.

        Without end, through restarts of the daemon. After a rollback that is the earlier
        checkpoint, or the bare base model (`is_base`); the same never comes twice in a row.

        Args:
            directory: Where checkpoints lie, each in a directory of its own; those there are
                verified and not downloaded again. Nothing is deleted.
            poll_seconds: How often to look where no stream of events can be had.

        Raises:
            RequestRefused: The token does not suffice, or there is no such instance.
            DownloadCorrupt: What is current could not be had whole in several attempts.
            OSError: The directory cannot be written to.
        """
        # The stream says when to look, the aliases say what is current: so nothing is missed when
        # the stream breaks, and nothing comes twice when it repeats itself.
        path = f"/v1/instances/{segment(instance)}/events"
        events = AsyncEvents(
            self._daemon, path, {"subject": "checkpoint"}, poll_seconds=poll_seconds
        )
        seen: str | None = ""
        failures = 0
        while True:
            pause_seconds = 0.0
            try:
                async with events:
                    while True:
                        now = (await self.get_aliases(instance)).current
                        if now != seen:
                            yield await self._bring(instance, now, directory)
                            seen, failures = now, 0
                        elif await events.take() is None:
                            break
            except DaemonUnavailable:
                pass
            except (DownloadCorrupt, RequestRefused) as error:
                failures += 1
                is_passing = isinstance(error, DownloadCorrupt) or error.status in _GONE
                if not is_passing or failures >= MAX_FAILED_DOWNLOADS:
                    raise
                pause_seconds = backoff_seconds(failures)
            await asleep(pause_seconds + events.pause_seconds)

    # ---- The daemon

    async def create_webhook(
        self,
        url: str,
        *,
        name: str = "webhook",
        instances: Iterable[str] | None = None,
        types: Iterable[str] | None = None,
    ) -> NewWebhook:
        """Tell an address what happens from now on; the answer alone has its secret."""
        body = {
            "url": url,
            "name": name,
            "instances": None if instances is None else list(instances),
            "types": None if types is None else list(types),
        }
        return await self._daemon.ask(
            NewWebhook, "POST", "/v1/webhooks", body=body, is_repeatable=False
        )

    async def list_webhooks(self) -> Page[Webhook]:
        """Return all webhooks, oldest first."""
        return await self._daemon.get_page(Webhook, "/v1/webhooks")

    async def get_webhook(self, webhook_id: str) -> Webhook:
        """Return one webhook."""
        return await self._daemon.get(Webhook, f"/v1/webhooks/{segment(webhook_id)}")

    async def patch_webhook(self, webhook_id: str, **changes: Any) -> Webhook:
        """Change url, name, instances, types or is_enabled; what is left out stays."""
        path = f"/v1/webhooks/{segment(webhook_id)}"
        return await self._daemon.ask(Webhook, "PATCH", path, body=changes)

    async def delete_webhook(self, webhook_id: str) -> None:
        """Delete a webhook, and all that was to be sent to it."""
        await self._daemon.send(Request("DELETE", f"/v1/webhooks/{segment(webhook_id)}"))

    async def rotate_webhook(self, webhook_id: str) -> NewWebhook:
        """Make a new secret; the one before signs beside it for a day."""
        path = f"/v1/webhooks/{segment(webhook_id)}/rotate"
        return await self._daemon.ask(NewWebhook, "POST", path, is_repeatable=False)

    async def test_webhook(self, webhook_id: str) -> WebhookDelivery:
        """Send a message of type `webhook.test`."""
        path = f"/v1/webhooks/{segment(webhook_id)}/test"
        return await self._daemon.ask(WebhookDelivery, "POST", path, is_repeatable=False)

    async def list_webhook_deliveries(
        self,
        webhook_id: str,
        *,
        status: str | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> Page[WebhookDelivery]:
        """Return one page of the messages to a webhook, newest first."""
        path = f"/v1/webhooks/{segment(webhook_id)}/deliveries"
        params = {"status": status, "cursor": cursor, "limit": limit}
        return await self._daemon.get_page(WebhookDelivery, path, params)

    async def retry_webhook_delivery(self, webhook_id: str, delivery_id: str) -> WebhookDelivery:
        """Send a message again, now, under its own id."""
        path = f"/v1/webhooks/{segment(webhook_id)}/deliveries/{segment(delivery_id)}/retry"
        return await self._daemon.ask(WebhookDelivery, "POST", path)

    async def get_stats(
        self, instance: str | None = None, *, cursor: str | None = None, limit: int | None = None
    ) -> Stats:
        """Return the statistics of one instance or of a page of all."""
        params = {"instance": instance, "cursor": cursor, "limit": limit}
        return await self._daemon.get(Stats, "/stats", params)

    async def get_all_stats(self) -> Stats:
        """Return the statistics of every instance, asked for page by page."""
        found = page = await self.get_stats(limit=STATS_PER_PAGE)
        while page.next is not None:
            page = await self.get_stats(cursor=page.next, limit=STATS_PER_PAGE)
            found = replace(found, instances=(*found.instances, *page.instances))
        whole = {"instances": [item.raw for item in found.instances], "has_more": False}
        raw = {**found.raw, **whole, "next": None}
        return replace(found, raw=raw, has_more=False, next=None)

    async def get_readiness(self) -> Readiness:
        """Return whether the daemon can do its job, asked once; no answer is `unavailable`, too."""
        try:
            answer = await self._daemon.send_once(Request("GET", "/readyz"))
            return decode(Readiness, json_of(answer))
        except (httpx.TransportError, SleepClientError) as error:
            return Readiness(status="unavailable", checks={"daemon": str(error) or "no answer"})

    async def is_ready(self) -> bool:
        """Whether the daemon answers and can take exchanges."""
        return (await self.get_readiness()).status in AT_WORK_STATUSES

    async def _bring(
        self, instance: str, checkpoint_id: str | None, directory: Path | str
    ) -> Current:
        if checkpoint_id is None:
            return Current(instance=instance, checkpoint=None, directory=None)
        checkpoint = await self.get_checkpoint(checkpoint_id)
        path = await self.download_checkpoint(checkpoint, directory)
        return Current(instance=instance, checkpoint=checkpoint, directory=path)
