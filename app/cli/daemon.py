"""Commands that are the daemon: serve, the child of a cycle, the schema."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.terminal import Json, address_of, err, explained, fail, out, print_json, read_settings
from app.log import configure_logging, get_logger, is_pretty
from app.settings import unknown_variables

if TYPE_CHECKING:
    from types import FrameType

    import uvicorn
    from fastapi import FastAPI

    from app.runtimes.teacher import Teacher
    from app.settings import Settings
    from app.training.trainer import Trainer

app = typer.Typer()


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; default SAGE_HOST.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on; default SAGE_PORT.")
    ] = None,
) -> None:
    """Run the daemon until it is stopped; in an empty data directory it makes its database."""
    for name, value in (("SAGE_HOST", host), ("SAGE_PORT", port)):
        if value is not None:
            os.environ[name] = str(value)  # as a child and the settings read it
    serve_with()


def serve_with(child_command: Sequence[str] | None = None) -> None:
    """Run the daemon until it is stopped.

    Args:
        child_command: What runs a cycle, given its id; None for this program's own `run-cycle`.
    """
    import uvicorn  # noqa: PLC0415  # only this command serves

    from app.api.guards.connections import bounded, check_certificate  # noqa: PLC0415
    from app.main import check_startable, create_app  # noqa: PLC0415

    with explained():
        settings = read_settings()
        configure_logging(level=settings.log_level, log_format=settings.log_format)
        _create_database(settings)
        check_startable(settings)
        if settings.tls_certificate is not None and settings.tls_key is not None:
            check_certificate(settings.tls_certificate, settings.tls_key)
        application = create_app(settings, child_command=child_command)
        config = uvicorn.Config(
            application,
            host=settings.host,
            port=settings.port,
            http=bounded(
                header_timeout_seconds=settings.header_timeout_seconds,
                stalled_timeout_seconds=settings.stalled_timeout_seconds,
                max_connections=settings.max_connections,
            ),
            log_config=None,
            access_log=False,
            # Off unless asked for: anyone on this machine could write the header.
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
            ssl_certfile=settings.tls_certificate,
            ssl_keyfile=settings.tls_key,
            timeout_graceful_shutdown=3,
        )
        with _bind(settings.host, settings.port) as listener:
            _say_where(settings, port=listener.getsockname()[1])
            server = uvicorn.Server(config)
            _stop_child_with(server, application)
            server.run(sockets=[listener])


@app.command()
def healthcheck(
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for the answer.")] = 5.0,
) -> None:
    """Ask the daemon of these settings whether it answers; exit code 1 if not, as Docker wants."""
    import httpx  # noqa: PLC0415

    address = f"{address_of(read_settings())}/healthz"
    try:
        # Its own daemon, by an address that no certificate is for; nothing secret is sent, and one
        # that has expired is no reason to restart.
        answer = httpx.get(address, timeout=timeout, verify=False, trust_env=False)  # noqa: S501
    except httpx.TransportError as error:
        fail(f"{address} does not answer ({type(error).__name__}).")
    if not answer.is_success:
        fail(f"{address} answers {answer.status_code}.")
    out.print(f"{address} answers.", soft_wrap=True)


@app.command("run-cycle", hidden=True)
def run_cycle(cycle_id: str) -> None:
    """Run one queued cycle; the daemon starts this as its child."""
    from app.training.trainer import LoraTrainer  # noqa: PLC0415  # only this command trains

    run_child(cycle_id, LoraTrainer)


def run_child(cycle_id: str, make_trainer: Callable[[], Trainer]) -> None:
    """Be the daemon's child: run one queued cycle with a trainer."""
    from app.worker.child import stop_on_signal, watch_parent, yield_cores  # noqa: PLC0415

    watch_parent()
    stop = stop_on_signal()

    from app.cli.database import open_database  # noqa: PLC0415
    from app.domain.worker_end import DISK_FULL_EXIT  # noqa: PLC0415
    from app.errors import DatabaseFull, DiskFull  # noqa: PLC0415
    from app.worker import cycle as worker  # noqa: PLC0415  # its imports take a second

    can_chat = find_spec("xllamacpp") is not None
    with explained():
        settings = read_settings()
        yield_cores(settings.child_niceness)
        configure_logging(level=settings.log_level, log_format=settings.log_format)
        try:
            with open_database(settings, is_migrated=False) as db:
                worker.run_cycle(
                    cycle_id,
                    db=db,
                    root=settings.checkpoints_dir,
                    kept_directory=settings.kept_dir,
                    snapshots_directory=settings.snapshots_dir,
                    tensorboard_directory=settings.tensorboard_dir,
                    snapshot_interval_seconds=settings.snapshot_interval_seconds,
                    max_export_bytes=settings.max_export_bytes if can_chat else None,
                    teacher=_teacher_of(settings),
                    trainer=make_trainer(),
                    stop=stop,
                )
        except (DatabaseFull, DiskFull) as error:
            err.print(error.message, markup=False, soft_wrap=True)
            raise SystemExit(DISK_FULL_EXIT) from error


def _teacher_of(settings: Settings) -> Callable[[], Teacher] | None:
    """Opens the teacher that the settings name; None where they name none."""
    url, model = settings.teacher_url, settings.teacher_model
    if url is None or model is None:
        return None
    key = settings.teacher_key.get_secret_value() if settings.teacher_key else None

    def open_teacher() -> Teacher:
        from app.runtimes.teacher import Teacher  # noqa: PLC0415  # httpx, for who has one

        return Teacher(url, model=model, key=key)

    return open_teacher


@app.command("check-fit", hidden=True)
def check_fit() -> None:
    """Say what a cycle would set aside; the daemon starts this for a dry run."""
    import json  # noqa: PLC0415

    from app.artifacts.bases import find_tokenizer  # noqa: PLC0415
    from app.domain.fit import FitAnswer, FitQuestion  # noqa: PLC0415
    from app.domain.stored import from_json, to_json  # noqa: PLC0415
    from app.worker.fit_check import answer  # noqa: PLC0415

    def look(question: FitQuestion) -> FitAnswer:
        find_tokenizer(question.base_model)  # before the seconds that the import below takes
        from app.training import fit  # noqa: PLC0415

        return fit.look(question)

    question = from_json(FitQuestion, json.load(sys.stdin))
    typer.echo(json.dumps(to_json(answer(question, look))))


@app.command("make-export", hidden=True)
def make_export() -> None:
    """Make of a checkpoint what another runtime reads; the daemon starts this."""
    import json  # noqa: PLC0415

    from app.artifacts.exports import key_of, making  # noqa: PLC0415
    from app.cli.exporting import find_same_base  # noqa: PLC0415
    from app.domain.export import Export, ExportOrder  # noqa: PLC0415
    from app.worker.child import watch_parent, yield_cores  # noqa: PLC0415
    from app.worker.export_maker import answer  # noqa: PLC0415

    def make(order: ExportOrder) -> None:
        if order.export is not Export.ADAPTER_GGUF:  # that is a fifth of a second
            yield_cores(read_settings().child_niceness)
        from app.exports import making as writing  # noqa: PLC0415  # numpy and gguf

        base = find_same_base(order)
        with making(order, key_of(order)) as directory:
            is_many = order.export is Export.MERGED_SAFETENSORS
            target = directory if is_many else directory / order.export.value
            adapter = order.root / order.checkpoint
            writing.make(order.export, adapter, base, target, base_gguf=order.base_gguf)

    line = sys.stdin.readline()
    watch_parent()
    typer.echo(json.dumps(answer(line, make)))


@app.command()
def migrate(as_json: Json = False) -> None:
    """Create the database, or bring its schema up to date; no daemon may run."""
    with explained():
        settings = read_settings()
        _upgrade(settings)
    if as_json:
        from app.db.engine import SCHEMA_REVISION  # noqa: PLC0415

        print_json({"database_url": settings.shown_database_url, "revision": SCHEMA_REVISION})
        return
    out.print(f"The database {settings.shown_database_url} is up to date.", soft_wrap=True)
    err.print("`sage-sleep serve` starts the daemon.")


def _create_database(settings: Settings) -> None:
    """Make the database where there is nothing yet; one that is there is left to `migrate`.

    Checkpoints without a database are no new beginning: a disk may not be mounted yet.

    Raises: DatabaseNotMigrated.
    """
    from app.db.engine import Database  # noqa: PLC0415
    from app.errors import DatabaseNotMigrated  # noqa: PLC0415

    path = Database(settings.effective_database_url, settings.instance_defaults()).path
    if path is None or path.exists():
        return
    root = settings.checkpoints_dir
    # What begins with a dot is the daemon's own mark, and no instance's.
    if root.is_dir() and any(not held.name.startswith(".") for held in root.iterdir()):
        raise DatabaseNotMigrated(
            f"{path} is not there, and {root} holds checkpoints of a database: "
            "mount it, set SAGE_DATABASE_URL, or restore a backup (`sage-sleep restore`). "
            "`sage-sleep migrate` begins with an empty one."
        )
    _upgrade(settings)
    if is_pretty(settings.log_format):
        err.print(f"There was no database yet; {path} is made.", markup=False, soft_wrap=True)
    else:
        get_logger(__name__).info("database.created", path=str(path))


def _upgrade(settings: Settings) -> None:
    """Create the database, or bring its schema up to date. Raises: DataDirectoryInUse."""
    from app.cli.database import upgrade_schema  # noqa: PLC0415
    from app.clock import utc_now  # noqa: PLC0415
    from app.data_lock import hold  # noqa: PLC0415
    from app.db.copies import keep_before_change  # noqa: PLC0415
    from app.db.engine import Database  # noqa: PLC0415

    db = Database(settings.effective_database_url, settings.instance_defaults())
    with hold(settings.data_dir, db.path), db.hold_alone():
        if copy := keep_before_change(db, now=utc_now()):
            typer.echo(f"The database as it was is kept as {copy}", err=True)
        upgrade_schema(db)


def _say_where(settings: Settings, *, port: int) -> None:
    """Say where it listens and where its things lie: to a person, or as one event of the log."""
    from app.artifacts.bases import find_fault  # noqa: PLC0415

    url = address_of(settings.model_copy(update={"port": port}))
    fault = find_fault(settings.effective_base_model)
    unread = [name for name, meant in unknown_variables(os.environ).items() if not meant]
    if not is_pretty(settings.log_format):
        log = get_logger(__name__)
        log.info(
            "daemon.listening",
            url=url,
            data_dir=str(settings.data_dir),
            database=settings.shown_database_url,
            base_model=settings.effective_base_model,
        )
        if fault is not None:
            log.warning("base_model.absent", fault=fault)
        if unread:
            log.warning("settings.not_read", names=unread)
        return
    lines = [
        f"SAGE Sleep listens on {url} (the console; /docs, /guide)",
        f"  data   {settings.data_dir}",
        *([f"  database  {settings.shown_database_url}"] if settings.database_url else []),
        f"  model  {settings.effective_base_model}{' (not there)' if fault else ''}",
    ]
    out.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
    if fault is not None:
        words = (
            f"{fault[0].upper()}{fault[1:]}. Exchanges are taken, and nothing sleeps until then."
        )
        err.print(words, style="yellow", markup=False, soft_wrap=True)
    if unread:
        words = f"Not read, since no setting is called so: {', '.join(unread)}."
        err.print(words, style="yellow", markup=False, soft_wrap=True)


def _stop_child_with(server: uvicorn.Server, application: FastAPI) -> None:
    """Tell the child of the signal at once: its grace runs while the server answers the last."""
    handle_exit = server.handle_exit

    def handle(sig: int, frame: FrameType | None) -> None:
        daemon = getattr(application.state, "daemon", None)
        if daemon is not None:
            daemon.begin_stop()
        handle_exit(sig, frame)

    server.handle_exit = handle  # type: ignore[method-assign]  # uvicorn has no hook for it


def _bind(host: str, port: int) -> socket.socket:
    """Take the address before anything else starts."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        setting = "SAGE_HOST" if isinstance(error, socket.gaierror) else "SAGE_PORT"
        if error.errno == errno.EADDRNOTAVAIL:
            setting = "SAGE_HOST"
        fail(f"{host}:{port} cannot be listened on ({error.strerror}); set {setting}.")
