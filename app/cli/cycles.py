"""Commands about sleep cycles: ask for one, list them."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.terminal import (
    AnyInstance,
    Instance,
    Json,
    Token,
    Url,
    daemon,
    err,
    losses,
    make_table,
    out,
    print_json,
    print_reasons,
    print_table,
)
from app.client import SleepPreview
from app.domain.presets import Preset

app = typer.Typer()


@app.command()
def sleep(
    instance: Instance = "default",
    force: Annotated[bool, typer.Option(help="Skip the waiting rules, never the gate.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Only say what would be done.")] = False,
    follow: Annotated[bool, typer.Option(help="Watch the cycle to its end.")] = False,
    preset: Annotated[
        Preset | None, typer.Option(help="Recipe by name; single fields lie over it.")
    ] = None,
    epochs: int | None = None,
    learning_rate: float | None = None,
    max_experiences: int | None = None,
    min_salience: float | None = None,
    r: int | None = None,
    lora_alpha: int | None = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Ask for a sleep cycle."""
    named = {
        "preset": preset,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "max_experiences": max_experiences,
        "min_salience": min_salience,
        "r": r,
        "lora_alpha": lora_alpha,
    }
    overrides = {name: value for name, value in named.items() if value is not None}
    with daemon(url, token) as client:
        if dry_run:
            preview = client.preview_sleep(instance, force=force, overrides=overrides)
            _print_preview(preview, as_json=as_json)
            return
        cycle = client.request_sleep(instance, force=force, overrides=overrides)
        if follow:
            from app.follow import follow_cycle  # noqa: PLC0415

            cycle = follow_cycle(err if as_json else out, client, cycle.id)
    if as_json:
        print_json(cycle)
    else:
        out.print(f"Cycle {cycle.number} ({cycle.id}) is {cycle.status}.")
    if follow and cycle.status in {"failed", "rejected", "cancelled"}:
        raise typer.Exit(1)


@app.command()
def cycles(
    instance: AnyInstance = None, url: Url = None, token: Token = None, as_json: Json = False
) -> None:
    """List sleep cycles, newest first."""
    with daemon(url, token) as client:
        answer = client.list_sleep_cycles(instance=instance)
    if as_json:
        print_json(answer)
        return
    table = make_table(
        "cycle", "id", "instance", "status", "trained", "held-out loss", "checkpoint"
    )
    for cycle in answer.data:
        table.add_row(
            str(cycle.number),
            cycle.id,
            cycle.instance,
            cycle.status,
            str(len(cycle.plan["experience_ids"])),
            losses(cycle.metrics),
            cycle.checkpoint_id or "",
        )
    print_table(table, "No cycle yet; start one with `sage-sleep sleep --force`.")


def _print_preview(preview: SleepPreview, *, as_json: bool) -> None:
    if as_json:
        print_json(preview)
        return
    out.print(f"Would train on {len(preview.experience_ids)} experiences.")
    print_reasons(preview.decision)
