"""`SleepClient`: every operation as a call that blocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
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
from app.client.trust import Verify, trusted_by

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8760"
TIMEOUT_SECONDS = 10.0
RETRY_SECONDS = 10.0


def _blocking(operation: Callable[P, Flow[T]]) -> Callable[Concatenate[SleepClient, P], T]:
    """An operation as a method that returns its result."""

    def method(self: SleepClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.run(operation(*args, **kwargs))

    return as_method(method, operation)


def _iterating(
    operation: Callable[P, Emitting[T]],
) -> Callable[Concatenate[SleepClient, P], Iterator[T]]:
    """An operation as a method that yields values."""

    def method(self: SleepClient, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return self.iterate(operation(*args, **kwargs))

    return as_method(method, operation, returns="Iterator[{}]")


class SleepClient:
    """A connection to one daemon; close it, or use it in a `with` block. Threads may share it.

    Each method is described where its operation is written; `help(SleepClient.promote)` shows it.
    All raise SleepClientError, whose `status` is None where nobody answered.
    """

    post_experience = _blocking(experiences.post_experience)
    post_experiences = _blocking(experiences.post_experiences)
    deliver = _blocking(delivery.deliver)
    list_experiences = _blocking(experiences.list_experiences)
    iterate_experiences = _iterating(experiences.iterate_experiences)
    get_experience = _blocking(experiences.get_experience)
    erase_experience = _blocking(experiences.erase_experience)
    get_experience_summary = _blocking(experiences.get_experience_summary)

    request_sleep = _blocking(sleep_cycles.request_sleep)
    preview_sleep = _blocking(sleep_cycles.preview_sleep)
    get_sleep_cycle = _blocking(sleep_cycles.get_sleep_cycle)
    list_sleep_cycles = _blocking(sleep_cycles.list_sleep_cycles)
    follow_sleep_cycle = _iterating(sleep_cycles.follow_sleep_cycle)
    cancel_sleep_cycle = _blocking(sleep_cycles.cancel_sleep_cycle)
    get_cycle_report = _blocking(sleep_cycles.get_cycle_report)
    list_sleep_cycle_events = _blocking(events.list_sleep_cycle_events)
    follow_sleep_cycle_events = _iterating(events.follow_sleep_cycle_events)

    list_checkpoints = _blocking(checkpoints.list_checkpoints)
    get_checkpoint = _blocking(checkpoints.get_checkpoint)
    list_checkpoint_experiences = _blocking(checkpoints.list_checkpoint_experiences)
    download_checkpoint = _blocking(downloads.download_checkpoint)
    promote = _blocking(checkpoints.promote)
    patch_checkpoint = _blocking(checkpoints.patch_checkpoint)
    delete_checkpoint = _blocking(checkpoints.delete_checkpoint)
    report_checkpoint = _blocking(checkpoints.report_checkpoint)
    list_checkpoint_reports = _blocking(checkpoints.list_checkpoint_reports)

    list_instances = _blocking(instances.list_instances)
    get_instance = _blocking(instances.get_instance)
    put_instance = _blocking(instances.put_instance)
    get_aliases = _blocking(instances.get_aliases)
    list_alias_history = _blocking(instances.list_alias_history)
    rollback = _blocking(instances.rollback)
    dismiss_candidate = _blocking(instances.dismiss_candidate)
    rebuild = _blocking(instances.rebuild)
    get_sleep_decision = _blocking(instances.get_sleep_decision)
    list_instance_events = _blocking(events.list_instance_events)
    watch_instance_events = _iterating(events.watch_instance_events)
    watch_current = _iterating(watching.watch_current)

    get_stats = _blocking(instances.get_stats)
    get_all_stats = _blocking(instances.get_all_stats)
    get_readiness = _blocking(instances.get_readiness)
    is_ready = _blocking(instances.is_ready)

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
        self.url = url
        self._options = Options(url=url, retry_seconds=retry_seconds)
        self._http = httpx.Client(
            base_url=url,
            timeout=timeout_seconds,
            headers={"Authorization": f"Bearer {token}"} if token else None,
            verify=trusted_by(verify),
        )

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
        """Close the connection."""
        self._http.close()

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._http.is_closed

    def run(self, flow: Flow[T]) -> T:
        """Carry out an operation of one's own; `app.client.flows` says how to write one."""
        course = Course(flow)
        for _ in self._drive(course):
            raise TypeError("This operation yields values; use `iterate`.")
        return course.result

    def iterate(self, flow: Emitting[T]) -> Iterator[T]:
        """Carry out an operation that yields values."""
        return self._drive(Course(flow))

    def _drive(self, course: Course[Any]) -> Iterator[Any]:
        streams: set[Opened] = set()
        try:
            while (effect := course.effect) is not None:
                if isinstance(effect, Emit):
                    yield effect.value
                    course.resume(None)
                    continue
                try:
                    answer = self._perform(effect, streams)
                except FLOW_ERRORS as error:
                    if isinstance(effect, ReadOn):
                        streams.discard(effect.opened)
                        effect.opened.response.close()
                    course.fail(error)
                else:
                    course.resume(answer)
        finally:
            course.close()
            for opened in streams:
                opened.response.close()

    def _perform(self, effect: Effect, streams: set[Opened]) -> Any:  # noqa: PLR0911
        match effect:
            case AskOptions():
                return self._options
            case Send(request):
                return self._http.send(request.build(self._http))
            case Open(request):
                response = self._http.send(request.build(self._http), stream=True)
                opened = Opened(response, response.iter_bytes())
                streams.add(opened)
                return opened
            case ReadOn(opened):
                chunk = next(opened.chunks, None)
                if chunk is None:
                    streams.discard(opened)
                return chunk
            case ReadAll(opened):
                streams.discard(opened)
                return opened.response.read()
            case Close(opened):
                streams.discard(opened)
                return opened.response.close()
            case Pause(seconds):
                return time.sleep(seconds)
            case Work(function):
                return function()
