"""`AsyncSleepClient`: every operation as a coroutine or an asynchronous iterator, for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from app.client import (
    checkpoints,
    delivery,
    downloads,
    events,
    experiences,
    instances,
    sleep_cycles,
    watching,
)
from app.client.flows import (
    FLOW_ERRORS,
    AskOptions,
    Close,
    Course,
    Effect,
    Emit,
    Emitting,
    Flow,
    Open,
    Opened,
    Options,
    Pause,
    ReadAll,
    ReadOn,
    Send,
    Work,
    as_method,
)
from app.client.sync_client import DEFAULT_URL, RETRY_SECONDS, TIMEOUT_SECONDS
from app.client.trust import Verify, trusted_by

P = ParamSpec("P")
T = TypeVar("T")


def _awaited(
    operation: Callable[P, Flow[T]],
) -> Callable[Concatenate[AsyncSleepClient, P], Coroutine[Any, Any, T]]:
    """An operation as a method that is awaited."""

    async def method(self: AsyncSleepClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.run(operation(*args, **kwargs))

    return as_method(method, operation)


def _iterating(
    operation: Callable[P, Emitting[T]],
) -> Callable[Concatenate[AsyncSleepClient, P], AsyncIterator[T]]:
    """An operation as a method that yields values."""

    def method(self: AsyncSleepClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        return self.iterate(operation(*args, **kwargs))

    return as_method(method, operation, returns="AsyncIterator[{}]")


class AsyncSleepClient:
    """`SleepClient` for asyncio: the same methods and results; used in an `async with` block."""

    post_experience = _awaited(experiences.post_experience)
    post_experiences = _awaited(experiences.post_experiences)
    deliver = _awaited(delivery.deliver)
    list_experiences = _awaited(experiences.list_experiences)
    iterate_experiences = _iterating(experiences.iterate_experiences)
    get_experience = _awaited(experiences.get_experience)
    erase_experience = _awaited(experiences.erase_experience)
    get_experience_summary = _awaited(experiences.get_experience_summary)

    request_sleep = _awaited(sleep_cycles.request_sleep)
    preview_sleep = _awaited(sleep_cycles.preview_sleep)
    get_sleep_cycle = _awaited(sleep_cycles.get_sleep_cycle)
    list_sleep_cycles = _awaited(sleep_cycles.list_sleep_cycles)
    follow_sleep_cycle = _iterating(sleep_cycles.follow_sleep_cycle)
    cancel_sleep_cycle = _awaited(sleep_cycles.cancel_sleep_cycle)
    get_cycle_report = _awaited(sleep_cycles.get_cycle_report)
    list_sleep_cycle_events = _awaited(events.list_sleep_cycle_events)
    follow_sleep_cycle_events = _iterating(events.follow_sleep_cycle_events)

    list_checkpoints = _awaited(checkpoints.list_checkpoints)
    get_checkpoint = _awaited(checkpoints.get_checkpoint)
    list_checkpoint_experiences = _awaited(checkpoints.list_checkpoint_experiences)
    download_checkpoint = _awaited(downloads.download_checkpoint)
    promote = _awaited(checkpoints.promote)
    patch_checkpoint = _awaited(checkpoints.patch_checkpoint)
    delete_checkpoint = _awaited(checkpoints.delete_checkpoint)
    report_checkpoint = _awaited(checkpoints.report_checkpoint)
    list_checkpoint_reports = _awaited(checkpoints.list_checkpoint_reports)

    list_instances = _awaited(instances.list_instances)
    get_instance = _awaited(instances.get_instance)
    put_instance = _awaited(instances.put_instance)
    get_aliases = _awaited(instances.get_aliases)
    list_alias_history = _awaited(instances.list_alias_history)
    rollback = _awaited(instances.rollback)
    dismiss_candidate = _awaited(instances.dismiss_candidate)
    rebuild = _awaited(instances.rebuild)
    get_sleep_decision = _awaited(instances.get_sleep_decision)
    list_instance_events = _awaited(events.list_instance_events)
    watch_instance_events = _iterating(events.watch_instance_events)
    watch_current = _iterating(watching.watch_current)

    get_stats = _awaited(instances.get_stats)
    get_all_stats = _awaited(instances.get_all_stats)
    get_readiness = _awaited(instances.get_readiness)
    is_ready = _awaited(instances.is_ready)

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        token: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
        verify: Verify = True,
    ) -> None:
        """Connect when first asked for something; the arguments are those of `SleepClient`."""
        self.url = url
        self._options = Options(url=url, retry_seconds=retry_seconds)
        self._http = httpx.AsyncClient(
            base_url=url,
            timeout=timeout_seconds,
            headers={"Authorization": f"Bearer {token}"} if token else None,
            verify=trusted_by(verify),
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
        await self._http.aclose()

    async def run(self, flow: Flow[T]) -> T:
        """Carry out an operation of one's own; `app.client.flows` says how to write one."""
        course = Course(flow)
        async for _ in self._drive(course):
            raise TypeError("This operation yields values; use `iterate`.")
        return course.result

    def iterate(self, flow: Emitting[T]) -> AsyncIterator[T]:
        """Carry out an operation that yields values."""
        return self._drive(Course(flow))

    async def _drive(self, course: Course[Any]) -> AsyncIterator[Any]:
        streams: set[Opened] = set()
        try:
            while (effect := course.effect) is not None:
                if isinstance(effect, Emit):
                    yield effect.value
                    course.resume(None)
                    continue
                try:
                    answer = await self._perform(effect, streams)
                except FLOW_ERRORS as error:
                    if isinstance(effect, ReadOn):
                        streams.discard(effect.opened)
                        await effect.opened.response.aclose()
                    course.fail(error)
                else:
                    course.resume(answer)
        finally:
            course.close()
            for opened in streams:
                await opened.response.aclose()

    async def _perform(self, effect: Effect, streams: set[Opened]) -> Any:  # noqa: PLR0911
        match effect:
            case AskOptions():
                return self._options
            case Send(request):
                return await self._http.send(request.build(self._http))
            case Open(request):
                response = await self._http.send(request.build(self._http), stream=True)
                opened = Opened(response, response.aiter_bytes())
                streams.add(opened)
                return opened
            case ReadOn(opened):
                chunk = await anext(opened.chunks, None)
                if chunk is None:
                    streams.discard(opened)
                return chunk
            case ReadAll(opened):
                streams.discard(opened)
                return await opened.response.aread()
            case Close(opened):
                streams.discard(opened)
                return await opened.response.aclose()
            case Pause(seconds):
                return await asyncio.sleep(seconds)
            case Work(function):
                return await asyncio.to_thread(function)
