"""What the daemon is put together of: its parts, and the HTTP application over them.

No rule, no torch.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from ipaddress import ip_network

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware

from app import data_lock
from app.api.daemon import Daemon
from app.api.document import install_document
from app.api.event_watch import EventWatch
from app.api.guards.admission import Admission
from app.api.guards.body_limit import BodyLimit
from app.api.guards.rate_limit import RateLimit
from app.api.guards.same_origin import SameOrigin
from app.api.guards.write_slots import WriteSlots
from app.api.ingest_meter import IngestMeter
from app.api.pages import console, guide
from app.api.pages.docs import install_docs
from app.api.problems import install_problem_handlers
from app.api.routes import (
    chat,
    checkpoints,
    experiences,
    instances,
    metrics,
    mirror,
    operations,
    sleep_cycles,
    webhooks,
)
from app.api.tracing import install_tracing
from app.artifacts.bases import find_fault
from app.clock import utc_now
from app.db.engine import Database
from app.log import get_logger
from app.services import tokens
from app.services.figures import FigureReader
from app.services.file_guard import FileGuard
from app.services.pairing import PairPlaces, settle_pair
from app.services.sweeping import sweep_worker
from app.settings import Settings
from app.worker.chat_desk import ChatDesk
from app.worker.chat_servers import ChatServers
from app.worker.export_maker import ExportMaker
from app.worker.fit_check import FitCheck
from app.worker.ingest_writer import IngestWriter
from app.worker.mirror_desk import MirrorDesk
from app.worker.mirror_sender import MirrorSender
from app.worker.model_watch import ModelWatch
from app.worker.ollama_push import OllamaPush
from app.worker.push_watch import PushWatch
from app.worker.recovery import recover
from app.worker.scheduler import SleepScheduler
from app.worker.supervisor import CYCLE_COMMAND, Supervisor
from app.worker.upkeep import DataPaths, Upkeep
from app.worker.vllm_push import VllmPush
from app.worker.webhook_sender import WebhookSender

_log = get_logger(__name__)


def create_app(settings: Settings, *, child_command: Sequence[str] | None = None) -> FastAPI:
    """Build the application; nothing is opened or started before its lifespan begins.

    Args:
        child_command: As in `run_daemon`.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        running = run_daemon(settings, child_command=child_command)
        app.state.daemon = running.__enter__()
        try:
            yield
        finally:
            # In a thread: it waits for the running cycle's process, and streams end meanwhile.
            await run_in_threadpool(running.__exit__, None, None, None)
            await run_in_threadpool(app.state.end_tracing)

    app = FastAPI(
        title="SAGE Sleep",
        version=version("sage-sleep"),
        summary="Gives small language models sleep: what mattered becomes a LoRA checkpoint.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    install_document(app)
    install_docs(app)
    install_problem_handlers(app)
    _add_middleware(app, settings)
    for part in (
        experiences,
        sleep_cycles,
        checkpoints,
        instances,
        mirror,
        chat,
        webhooks,
        operations,
        console,
        guide,
        metrics,
    ):
        app.include_router(part.router)
    app.state.end_tracing = install_tracing(app)
    return app


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """Each is added around those before it, so the last one is asked first."""
    app.add_middleware(
        BodyLimit,
        max_body_bytes=settings.max_body_bytes,
        max_held_bytes=settings.max_held_bytes,
        timeout_seconds=settings.body_timeout_seconds,
    )
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=[
                "Authorization", "Content-Type", "Idempotency-Key", "If-Match", "Last-Event-ID",
            ],
            expose_headers=["ETag", "Location", "Retry-After", "WWW-Authenticate"],
        )  # fmt: skip
    app.add_middleware(
        SameOrigin,
        allowed_hosts=settings.effective_allowed_hosts,
        allowed_origins=settings.allowed_origins,
        is_any_address_allowed=settings.is_any_address,
    )


@contextmanager
def run_daemon(
    settings: Settings, *, child_command: Sequence[str] | None = None
) -> Iterator[Daemon]:
    """Hold data directory and database, settle what the last run left, and keep the worker running.

    Args:
        child_command: What runs a cycle, given its id; None for this program's own.

    Raises: as `check_startable`.
    """
    # Another program that runs cycles may need no base; ours does.
    with _hold(settings, looks_for_base=child_command is None) as db:
        guard = FileGuard(db, root=settings.checkpoints_dir)
        paths = DataPaths(
            checkpoints=settings.checkpoints_dir,
            kept=settings.kept_dir,
            snapshots=settings.snapshots_dir,
            scratch=settings.scratch_dir,
        )
        recover(db, guard=guard, paths=paths)
        child_environment = {
            "SAGE_DATA_DIR": str(settings.data_dir),
            "SAGE_DATABASE_URL": settings.effective_database_url,
        }
        supervisor = Supervisor(
            db,
            child_command=child_command or CYCLE_COMMAND,
            child_environment=child_environment,
            sweep=partial(sweep_worker, db, root=settings.checkpoints_dir),
            stop_grace_seconds=settings.stop_grace_seconds,
            stall_seconds=settings.stall_seconds,
        )
        maker = ExportMaker(
            root=settings.checkpoints_dir,
            environment=child_environment,
            max_bytes=settings.max_export_bytes,
        )
        ollama, vllm = settings.effective_ollama_url, settings.effective_vllm_url
        root = settings.checkpoints_dir
        pushes = {
            "ollama": OllamaPush(db, url=ollama, root=root, guard=guard, get_export=maker.get).push,
            "vllm": VllmPush(
                db, url=vllm, directory=settings.effective_vllm_dir, root=root, guard=guard
            ).push,
        }
        desk = ChatDesk(
            db,
            root=root,
            guard=guard,
            get_export=maker.get,
            servers=ChatServers(context_tokens=settings.chat_context_tokens),
            is_training=lambda: supervisor.is_training,
            idle_seconds=settings.chat_idle_seconds,
        )
        scheduler = SleepScheduler(
            db,
            interval_seconds=settings.scheduler_interval_seconds,
            on_queued=supervisor.wake,
            upkeep=Upkeep(db, guard=guard, paths=paths),
            upkeep_interval_seconds=settings.upkeep_interval_seconds,
            models=ModelWatch(db, url=settings.effective_ollama_url),
            pushes={
                runtime: PushWatch(db, flag=f"push_to_{runtime}", push=push)
                for runtime, push in pushes.items()
            },
        )
        writer = IngestWriter(
            db,
            on_ingested=scheduler.nudge,
            max_queued=settings.max_queued_exchanges,
        )
        hooks = WebhookSender(
            db,
            allowed=[ip_network(name, strict=False) for name in settings.webhook_networks],
            user_agent=f"sage-sleep/{version('sage-sleep')}",
        )
        copies = MirrorSender(db, remote=settings.mirror, root=root, guard=guard)
        shared = MirrorDesk(db, remote=settings.mirror, read_state=copies.read_state)
        admission = Admission(
            db,
            is_demanded=settings.demands_tokens,
            rates=RateLimit(settings.effective_requests_per_minute),
        )
        supervisor.start()
        scheduler.start()
        writer.start()
        desk.start()
        hooks.start()
        copies.start()
        _log.info("daemon.started", data_dir=str(settings.data_dir))
        if not settings.is_loopback and settings.tls_certificate is None:
            _log.warning("daemon.without_tls", host=settings.host)
        try:
            yield Daemon(
                version=version("sage-sleep"),
                started_at=utc_now(),
                db=db,
                data_dir=settings.data_dir,
                checkpoints_root=settings.checkpoints_dir,
                kept_root=settings.kept_dir,
                snapshots_root=settings.snapshots_dir,
                guard=guard,
                admission=admission,
                writes=WriteSlots(),
                submit=writer.submit,
                batch_turn=writer.batch_turn,
                on_ingested=scheduler.nudge,
                on_queued=supervisor.wake,
                ask_fit=FitCheck(environment=child_environment).ask,
                get_export=maker.get,
                pushes=pushes,
                read_mirror_state=copies.read_state,
                look_at_mirror=shared.look,
                pull_from_mirror=shared.pull,
                take_answering=desk.take,
                begin_stop=supervisor.begin_stop,
                is_worker_alive=lambda: all(
                    part.is_alive for part in (scheduler, supervisor, writer)
                ),
                figures=FigureReader(db),
                event_watch=EventWatch(db, admission.still_admits),
                ingest_meter=IngestMeter(),
            )
        finally:
            desk.stop()
            hooks.stop()
            copies.stop()
            maker.stop()
            writer.stop()
            scheduler.stop()
            supervisor.stop()
            _log.info("daemon.stopped")


def check_startable(settings: Settings) -> None:
    """Raise what would keep the daemon from starting, before a server is set up for it.

    Raises: DataDirectoryInUse, DatabaseInUse, DirectoryReadOnly, DatabaseNotMigrated,
        DatabaseUnavailable, PairMismatched, CheckpointsNotThere, AddressUnguarded.
    """
    with _hold(settings):
        pass


@contextmanager
def _hold(settings: Settings, *, looks_for_base: bool = True) -> Iterator[Database]:
    defaults = settings.instance_defaults()
    if looks_for_base:
        defaults = replace(defaults, find_base_fault=find_fault)
    db = Database(settings.effective_database_url, defaults)
    with data_lock.hold(settings.data_dir, db.path), db.hold_alone():
        try:
            db.check_migrated()
            places = PairPlaces(
                data_dir=settings.data_dir,
                checkpoints=settings.checkpoints_dir,
                snapshots=settings.snapshots_dir,
            )
            settle_pair(db, places, now=utc_now())
            if not settings.is_loopback:
                tokens.require_guard(db, host=settings.host, now=utc_now())
            yield db
        finally:
            db.close()
