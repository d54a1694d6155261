"""The commands. With `__main__.py` and `main.py` the composition root: nothing imports it.

Commands that need torch import it when they run, so that the others start at once. Exit codes:
0 done, 1 refused or failed (the message says what to do), 2 wrong usage, 3 no daemon answers.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from rich.table import Table

from app.client import SleepClient, SleepClientError
from app.clock import utc_now
from app.domain.sleep import EMBEDDED_MODEL_NAME
from app.errors import SageSleepError
from app.log import configure_logging
from app.settings import CONFIG_FILE_VARIABLE, Settings

app = typer.Typer(no_args_is_help=True, help="SAGE Sleep: sleep for small language models.")
model_app = typer.Typer(no_args_is_help=True, help="Base models.")
app.add_typer(model_app, name="model")

out = Console()
err = Console(stderr=True)

Url = Annotated[
    str | None, typer.Option(help="Daemon to talk to; default from SAGE_HOST, SAGE_PORT.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Instance = Annotated[str, typer.Option("--instance", "-i", help="Slug of the instance.")]
AnyInstance = Annotated[str | None, typer.Option("--instance", "-i", help="Only this instance.")]


@app.command()
def serve() -> None:
    """Run the daemon until it is stopped."""
    import uvicorn  # noqa: PLC0415  # only this command serves

    from app.main import check_startable, create_app  # noqa: PLC0415

    with _explained():
        settings = _settings()
        configure_logging(level=settings.log_level, log_format=settings.log_format)
        check_startable(settings)
        config = uvicorn.Config(
            create_app(settings),
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=3,
        )
        with _bind(settings.host, settings.port) as listener:
            uvicorn.Server(config).run(sockets=[listener])


@app.command("run-cycle", hidden=True)
def run_cycle(cycle_id: str) -> None:
    """Run one queued cycle; the daemon starts this as its child."""
    from app.worker import cycle as worker  # noqa: PLC0415  # after the parent is watched

    worker.watch_parent()
    stop = worker.stop_on_signal()
    worker.yield_cores()

    from app.db.engine import Database  # noqa: PLC0415
    from app.training.trainer import LoraTrainer  # noqa: PLC0415  # torch lives here alone

    with _explained():
        settings = _settings()
        configure_logging(level=settings.log_level, log_format=settings.log_format)
        db = Database(settings.effective_database_url)
        try:
            worker.run_cycle(
                cycle_id,
                db=db,
                root=settings.checkpoints_dir,
                kept_directory=settings.kept_dir,
                defaults=settings.instance_defaults(),
                trainer=LoraTrainer(),
                stop=stop,
            )
        finally:
            db.close()


@app.command()
def migrate() -> None:
    """Create the database, or bring its schema up to date."""
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    import migrations  # noqa: PLC0415
    from app.db.engine import Database, translated_errors  # noqa: PLC0415

    with _explained():
        settings = _settings()
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        config.attributes["url"] = Database(settings.effective_database_url).url
        with translated_errors():
            command.upgrade(config, "head")
        out.print(f"The database {settings.effective_database_url} is up to date.")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="An older experience_buffer.json.")],
    instance: Instance = "default",
    timezone: Annotated[
        str, typer.Option(help="Zone that the file's naive times are local to.")
    ] = "UTC",
    create: Annotated[bool, typer.Option(help="Create the instance if it is not there.")] = False,
    as_json: Json = False,
) -> None:
    """Import an older buffer file; the same file twice changes nothing."""
    from app.db.engine import Database  # noqa: PLC0415
    from app.services.instances import get_instance, put_instance  # noqa: PLC0415
    from app.services.legacy_import import import_buffer  # noqa: PLC0415

    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        _fail(f"Unknown time zone {timezone!r}; use one such as Europe/Lisbon.")
    with _explained():
        settings = _settings()
        defaults = settings.instance_defaults()
        db = Database(settings.effective_database_url)
        try:
            db.check_migrated()
            if create and instance not in _known_slugs(db, defaults):
                put_instance(db, instance, {}, defaults=defaults, now=utc_now())
            get_instance(db, instance, defaults)
            report = import_buffer(
                db, file, instance=instance, zone=zone, defaults=defaults, now=utc_now()
            )
        finally:
            db.close()
    if as_json:
        _print_json(
            {
                "inserted": report.inserted,
                "duplicate": report.duplicate,
                "by_status": report.by_status,
                "broken": [
                    {"index": b.index, "pointer": b.pointer, "problem": b.problem}
                    for b in report.broken
                ],
            }
        )
        return
    statuses = ", ".join(f"{count} {status}" for status, count in report.by_status.items())
    out.print(f"{report.inserted} inserted ({statuses or 'none'}), {report.duplicate} known.")
    for broken in report.broken:
        err.print(
            f"record {broken.index}{broken.pointer}: {broken.problem}", style="yellow", markup=False
        )
    if report.broken and not report.inserted and not report.duplicate:
        _fail("Nothing went in.")


@app.command()
def sleep(
    instance: Instance = "default",
    force: Annotated[bool, typer.Option(help="Skip the waiting rules, never the gate.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Only say what would be done.")] = False,
    follow: Annotated[bool, typer.Option(help="Watch the cycle to its end.")] = False,
    epochs: int | None = None,
    learning_rate: float | None = None,
    max_experiences: int | None = None,
    min_salience: float | None = None,
    r: int | None = None,
    lora_alpha: int | None = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Ask for a sleep cycle."""
    overrides = {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "max_experiences": max_experiences,
        "min_salience": min_salience,
        "r": r,
        "lora_alpha": lora_alpha,
    }
    request = {
        "instance": instance,
        "force": force,
        "dry_run": dry_run,
        "overrides": {name: value for name, value in overrides.items() if value is not None},
    }
    with _client(url) as client:
        answer = client.request_sleep(request)
        if follow and not dry_run:
            from app.follow import follow_cycle  # noqa: PLC0415

            answer = follow_cycle(err if as_json else out, client, answer["id"])
    if as_json:
        _print_json(answer)
    elif dry_run:
        out.print(f"Would train on {len(answer['experience_ids'])} experiences.")
        _print_reasons(answer["decision"])
    else:
        out.print(f"Cycle {answer['number']} ({answer['id']}) is {answer['status']}.")
    if follow and answer.get("status") in {"failed", "rejected", "cancelled"}:
        raise typer.Exit(1)


@app.command()
def cycles(instance: AnyInstance = None, url: Url = None, as_json: Json = False) -> None:
    """List sleep cycles, newest first."""
    with _client(url) as client:
        answer = client.list_sleep_cycles(instance=instance)
    if as_json:
        _print_json(answer)
        return
    table = _table("cycle", "id", "instance", "status", "trained", "held-out loss", "checkpoint")
    for cycle in answer["data"]:
        table.add_row(
            str(cycle["number"]),
            cycle["id"],
            cycle["instance"],
            cycle["status"],
            str(len(cycle["plan"]["experience_ids"])),
            _losses(cycle["metrics"]),
            cycle["checkpoint_id"] or "",
        )
    _print_table(table, "No cycle yet; start one with `sage-sleep sleep --force`.")


@app.command()
def checkpoints(instance: AnyInstance = None, url: Url = None, as_json: Json = False) -> None:
    """List checkpoints, newest first."""
    with _client(url) as client:
        answer = client.list_checkpoints(instance=instance)
    if as_json:
        _print_json(answer)
        return
    table = _table("id", "instance", "cycle", "verdict", "aliases", "held-out loss", "status")
    for checkpoint in answer["data"]:
        table.add_row(
            checkpoint["id"],
            checkpoint["instance"],
            str(checkpoint["cycle_number"]),
            checkpoint["verdict"]["status"],
            ", ".join(checkpoint["aliases"]),
            _losses(checkpoint["metrics"]),
            checkpoint["status"],
        )
    _print_table(table, "No checkpoint yet; a successful cycle publishes one.")


@app.command()
def promote(
    checkpoint_id: str,
    force: Annotated[bool, typer.Option(help="Although the gate refused it.")] = False,
    reason: str | None = None,
    url: Url = None,
) -> None:
    """Make a checkpoint current."""
    request = {"force": force, "reason": reason, "actor": "sage-sleep promote"}
    with _client(url) as client:
        _print_json(client.promote(checkpoint_id, request))


@app.command()
def rollback(instance: Instance = "default", reason: str | None = None, url: Url = None) -> None:
    """Take current one promotion back."""
    with _client(url) as client:
        _print_json(client.rollback(instance, {"reason": reason, "actor": "sage-sleep rollback"}))


@app.command()
def stats(instance: AnyInstance = None, url: Url = None, as_json: Json = False) -> None:
    """Show every instance at a glance."""
    with _client(url) as client:
        answer = client.get_stats(instance)
    if as_json:
        _print_json(answer)
        return
    for item in answer["instances"]:
        counts = ", ".join(f"{n} {status}" for status, n in item["counts"].items() if n)
        out.print(f"[bold]{item['instance']}[/bold]: {counts or 'no experience yet'}")
        _print_reasons(item["decision"])
        if item["last_cycle"]:
            last = item["last_cycle"]
            out.print(f"  last cycle {last['number']}: {last['status']}")
        if item["current_checkpoint"]:
            out.print(f"  current checkpoint {item['current_checkpoint']['name']}")


@model_app.command("fetch")
def fetch_model() -> None:
    """Fetch the base model unless it is there already: the embedded one, or SAGE_BASE_MODEL."""
    from app.training.models import fetch_base_model, fetch_embedded_model  # noqa: PLC0415

    with _explained():
        settings = _settings()
        if settings.base_model is None:
            path = fetch_embedded_model(settings.models_dir, on_step=err.print)
        else:
            path = fetch_base_model(settings.base_model, settings.models_dir, on_step=err.print)
        out.print(f"The base model is ready in {path}.", soft_wrap=True)


@app.command()
def demo(
    keep_running: Annotated[bool, typer.Option(help="Leave the daemon up afterwards.")] = False,
) -> None:
    """Replay a bundled session until the model sleeps, and show what it learned."""
    from app.demo import DemoFailed, run_demo  # noqa: PLC0415

    with _explained():
        settings = _settings()
        base_model = settings.models_dir / EMBEDDED_MODEL_NAME
        if not (base_model / "config.json").is_file():
            _fail("The embedded model is not here yet: run `sage-sleep model fetch` first.")
        try:
            run_demo(
                out,
                directory=settings.data_dir / "demo",
                base_model=base_model,
                keep_running=keep_running,
            )
        except DemoFailed as error:
            _fail(str(error))


def _bind(host: str, port: int) -> socket.socket:
    """Take the address before anything else starts."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        _fail(f"{host}:{port} cannot be listened on ({error.strerror}); set SAGE_PORT.")


def _settings() -> Settings:
    config_file = os.environ.get(CONFIG_FILE_VARIABLE)
    if config_file and not Path(config_file).is_file():
        _fail(f"{CONFIG_FILE_VARIABLE} names {config_file}, and there is no such file.")
    try:
        return Settings()
    except tomllib.TOMLDecodeError as error:
        _fail(f"{config_file} is not valid TOML: {error}")
    except SettingsError as error:
        _fail(f"These settings cannot be used: {error}")
    except ValidationError as error:
        lines = [
            f"SAGE_{'.'.join(str(part) for part in item['loc']).upper()}: {item['msg']}"
            for item in error.errors()
        ]
        _fail("These settings cannot be used:\n  " + "\n  ".join(lines))


@contextmanager
def _client(url: str | None) -> Iterator[SleepClient]:
    settings = _settings()
    try:
        with SleepClient(url or f"http://{settings.host}:{settings.port}") as client:
            yield client
    except SleepClientError as error:
        err.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(3 if error.status is None else 1) from error


@contextmanager
def _explained() -> Iterator[None]:
    """Turn our own errors into a sentence and exit code 1."""
    try:
        yield
    except (SageSleepError, SleepClientError) as error:
        _fail(str(error))


def _fail(message: str) -> NoReturn:
    err.print(message, style="red", markup=False, soft_wrap=True)
    raise typer.Exit(1)


def _known_slugs(db: Any, defaults: Any) -> set[str]:
    from app.services.instances import list_instances  # noqa: PLC0415

    return {instance.row.slug for instance in list_instances(db, defaults)}


def _print_json(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer, indent=2, ensure_ascii=False) + "\n")


def _table(*names: str) -> Table:
    """A table that folds what is too wide: an id must be there whole."""
    table = Table()
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def _print_table(table: Table, when_empty: str) -> None:
    out.print(table if table.row_count else when_empty)


def _print_reasons(decision: dict[str, Any]) -> None:
    out.print(f"  sleep is {'due' if decision['due'] else 'not due'}:")
    for reason in decision["reasons"]:
        out.print(f"    {'+' if reason['met'] else '-'} {reason['text']}", markup=False)


def _losses(metrics: dict[str, Any] | None) -> str:
    if not metrics:
        return ""
    before = metrics["held_out_before"]["nats_per_token"]
    after = metrics["held_out_reloaded"]["nats_per_token"]
    return f"{before:.3f} -> {after:.3f}"
