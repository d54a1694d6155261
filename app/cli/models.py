"""Commands about base models: fetch one, say which is an instance's, and show it learn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.terminal import (
    Json,
    Listing,
    err,
    explained,
    fail,
    out,
    print_json,
    print_table,
    read_settings,
)
from app.clock import utc_now
from app.domain.instance import EMBEDDED_MODEL_NAME

app = typer.Typer()
model_app = typer.Typer(no_args_is_help=True, help="Base models.")


@model_app.command("fetch")
def fetch_model(
    model: Annotated[
        str | None,
        typer.Argument(help="Hub id, for an instance with a base of its own; SAGE_BASE_MODEL."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Fetch the base model unless it is there already: the embedded one, or SAGE_BASE_MODEL."""
    from app.training.fetching import fetch_base_model, fetch_embedded_model  # noqa: PLC0415

    with explained():
        settings = read_settings()
        wanted = model or settings.base_model
        if wanted is None:
            path = fetch_embedded_model(settings.models_dir, on_step=err.print)
        else:
            path = fetch_base_model(wanted, settings.models_dir, on_step=err.print)
    if as_json:
        print_json({"base_model": str(path)})
    else:
        out.print(f"The base model is ready in {path}.", soft_wrap=True)


@model_app.command("table")
def show_table(as_json: Json = False) -> None:
    """List the names of models that are known, with their bases; SAGE_MODEL_TABLE adds to them."""
    from app.artifacts.bases import find_fault  # noqa: PLC0415

    models = read_settings().instance_defaults().models
    rows = [(name, base, own, find_fault(base) is None) for name, base, own in models.rows()]
    if as_json:
        names = ("name", "base_model", "own", "here")
        print_json([dict(zip(names, row, strict=True)) for row in rows])
        return
    table = Listing("name", "base model", "from", "on this machine", yielding=("base model",))
    for name, base, own, here in rows:
        table.add_row(name, base, "SAGE_MODEL_TABLE" if own else "", "yes" if here else "no")
    print_table(table, "No name is known.")


@model_app.command("use")
def use_base(
    slug: Annotated[str, typer.Argument(help="Instance whose base it is.")],
    base: Annotated[
        str, typer.Argument(help="Hub id, directory on this machine, or a name of `model table`.")
    ],
    as_json: Json = False,
) -> None:
    """Name the base model of an instance; its other settings stay as they are."""
    from app.artifacts.bases import find_base_model, find_fault  # noqa: PLC0415
    from app.cli.database import open_database  # noqa: PLC0415
    from app.services.instances import patch_instance  # noqa: PLC0415

    settings = read_settings()
    directory = Path(base).expanduser()
    with explained():
        if directory.is_dir():
            wanted = str(find_base_model(str(directory.absolute())))
        elif (known := settings.instance_defaults().models.find(base)) is not None:
            wanted = known
        else:
            fail(f"{base!r} is no directory, no hub id, and no name of `sage-sleep model table`.")
        with open_database(settings) as db:
            patch_instance(db, slug, {"base_model": wanted}, now=utc_now())
    if as_json:
        print_json({"instance": slug, "base_model": wanted})
        return
    out.print(f"{slug} is trained on {wanted}.", soft_wrap=True)
    if (fault := find_fault(wanted)) is not None:
        err.print(f"{fault[0].upper()}{fault[1:]}.", style="yellow", soft_wrap=True)


@app.command()
def demo(
    keep_running: Annotated[bool, typer.Option(help="Leave the daemon up afterwards.")] = False,
) -> None:
    """Replay a bundled session until the model sleeps, and show what it learned."""
    from app.client import SleepClientError  # noqa: PLC0415
    from app.demo import DemoFailed, run_demo  # noqa: PLC0415

    with explained():
        settings = read_settings()
        base_model = settings.models_dir / EMBEDDED_MODEL_NAME
        if not (base_model / "config.json").is_file():
            fail("The embedded model is not here yet: run `sage-sleep model fetch` first.")
        try:
            run_demo(
                out,
                directory=settings.data_dir / "demo",
                base_model=base_model,
                keep_running=keep_running,
            )
        except (DemoFailed, SleepClientError) as error:
            fail(str(error))
