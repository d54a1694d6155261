"""Commands about sleep cycles: ask for one, list them, cancel one."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.asking import CaFile, Token, Url, daemon, losses, print_answer, print_reasons
from app.cli.terminal import (
    AnyInstance,
    Instance,
    Json,
    described,
    err,
    fail,
    make_table,
    out,
    print_table,
)
from app.client import SleepClient, SleepCycle, SleepPreview
from app.domain.policy import SleepPolicy
from app.domain.presets import Preset
from app.domain.recipe import Recipe

app = typer.Typer()

INTERRUPTED = 130
"""What shells say of a program that Ctrl-C ended."""


@app.command()
def sleep(
    instance: Instance = "default",
    force: Annotated[bool, typer.Option(help="Skip the waiting rules, never the gate.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Only say what would be done.")] = False,
    follow: Annotated[
        bool,
        typer.Option(help="Watch the cycle to its end; exit code 1 unless it succeeded."),
    ] = False,
    preset: Annotated[
        Preset | None, typer.Option(help="Recipe by name; single fields lie over it.")
    ] = None,
    epochs: Annotated[int | None, described(Recipe, "epochs")] = None,
    learning_rate: Annotated[float | None, described(Recipe, "learning_rate")] = None,
    max_experiences: Annotated[int | None, described(SleepPolicy, "max_experiences")] = None,
    min_salience: Annotated[float | None, described(SleepPolicy, "min_salience")] = None,
    r: Annotated[int | None, described(Recipe, "r")] = None,
    lora_alpha: Annotated[int | None, described(Recipe, "lora_alpha")] = None,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
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
    with daemon(url, token, ca_file) as client:
        if dry_run:
            preview = client.preview_sleep(instance, force=force, overrides=overrides)
            _print_preview(preview, as_json=as_json)
            return
        cycle = client.request_sleep(instance, force=force, overrides=overrides)
        if follow:
            cycle = _follow(client, cycle, as_json=as_json)
    if as_json:
        print_answer(cycle)
    else:
        out.print(f"Cycle {cycle.number} ({cycle.id}) is {cycle.status}.", soft_wrap=True)
        if words := _next_step(cycle):
            err.print(words, markup=False, soft_wrap=True)
    if follow and cycle.status in {"failed", "rejected", "cancelled"}:
        raise typer.Exit(1)


@app.command()
def cancel(
    cycle_id: Annotated[
        str | None, typer.Argument(help="Default: the one that is queued or running.")
    ] = None,
    instance: Instance = "default",
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Cancel a queued cycle, or ask a running one to stop; its experiences go back."""
    with daemon(url, token, ca_file) as client:
        if cycle_id is None:
            (found,) = client.get_stats(instance).instances
            if found.running_cycle is None:
                fail(f"No cycle of {instance} is queued or running; `sage-sleep cycles` lists all.")
            cycle_id = found.running_cycle.id
        cycle = client.cancel_sleep_cycle(cycle_id)
    if as_json:
        print_answer(cycle)
    elif cycle.is_ended:
        out.print(f"Cycle {cycle.number} is {cycle.status}; its experiences are free again.")
    else:
        out.print(f"Cycle {cycle.number} is {cycle.status} and stops within seconds.")


@app.command()
def cycles(
    instance: AnyInstance = None,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """List sleep cycles, newest first."""
    with daemon(url, token, ca_file) as client:
        answer = client.list_sleep_cycles(instance=instance)
    if as_json:
        print_answer(answer)
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
            str(len(cycle.plan.experience_ids)),
            losses(cycle.metrics),
            cycle.checkpoint_id or "",
        )
    print_table(table, "No cycle yet; start one with `sage-sleep sleep --force`.")


def _follow(client: SleepClient, cycle: SleepCycle, *, as_json: bool) -> SleepCycle:
    from app.follow import follow_cycle  # noqa: PLC0415

    try:
        return follow_cycle(err if as_json else out, client, cycle.id)
    except KeyboardInterrupt:
        err.print(f"\nThe cycle goes on; `sage-sleep cancel {cycle.id}` ends it.", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None


def _next_step(cycle: SleepCycle) -> str | None:
    """What a person may want to do after a cycle came to this state."""
    match cycle.status:
        case "queued":
            return "`sage-sleep watch` shows it live."
        case "failed":
            why = cycle.error.message if cycle.error else ""
            return f"{why} Its experiences are free again.".strip()
        case "rejected":
            checks = cycle.verdict.checks if cycle.verdict else ()
            why = "; ".join(check.text for check in checks if not check.passed)
            return (
                f"The gate rejected it: {why}. `sage-sleep promote {cycle.checkpoint_id} --force "
                "--reason ...` overrules it."
            )
        case _:
            return None


def _print_preview(preview: SleepPreview, *, as_json: bool) -> None:
    if as_json:
        print_answer(preview)
        return
    out.print(f"Would train on {len(preview.experience_ids)} experiences.")
    for rule in preview.plan.left_out:
        out.print(f"  {rule.text}", markup=False)
    for floor in preview.plan.floors:
        out.print(f"  {floor.text}", markup=False)
    for unfit in preview.set_aside:
        out.print(
            f"  {unfit.experience_id} would be set aside: {unfit.text}",
            markup=False,
            soft_wrap=True,
        )
    if preview.error is not None:
        out.print(f"  {preview.error.message}", markup=False, soft_wrap=True)
    print_reasons(preview.decision)
