"""Commands about sleep cycles: ask for one, list them."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.terminal import (
    AnyInstance,
    Instance,
    Json,
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
    as_json: Json = False,
) -> None:
    """Ask for a sleep cycle."""
    overrides = {
        "preset": preset,
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
    with daemon(url) as client:
        answer = client.request_sleep(request)
        if follow and not dry_run:
            from app.follow import follow_cycle  # noqa: PLC0415

            answer = follow_cycle(err if as_json else out, client, answer["id"])
    if as_json:
        print_json(answer)
    elif dry_run:
        out.print(f"Would train on {len(answer['experience_ids'])} experiences.")
        print_reasons(answer["decision"])
    else:
        out.print(f"Cycle {answer['number']} ({answer['id']}) is {answer['status']}.")
    if follow and answer.get("status") in {"failed", "rejected", "cancelled"}:
        raise typer.Exit(1)


@app.command()
def cycles(instance: AnyInstance = None, url: Url = None, as_json: Json = False) -> None:
    """List sleep cycles, newest first."""
    with daemon(url) as client:
        answer = client.list_sleep_cycles(instance=instance)
    if as_json:
        print_json(answer)
        return
    table = make_table(
        "cycle", "id", "instance", "status", "trained", "held-out loss", "checkpoint"
    )
    for cycle in answer["data"]:
        table.add_row(
            str(cycle["number"]),
            cycle["id"],
            cycle["instance"],
            cycle["status"],
            str(len(cycle["plan"]["experience_ids"])),
            losses(cycle["metrics"]),
            cycle["checkpoint_id"] or "",
        )
    print_table(table, "No cycle yet; start one with `sage-sleep sleep --force`.")
