"""Commands about the base model: fetch it, and show it learn."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.terminal import Json, err, explained, fail, out, print_json, read_settings
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
