"""Commands about sleep cycles: ask for one, list them, cancel one."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.asking import (
    CaFile,
    Token,
    Url,
    daemon,
    losses,
    print_answer,
    print_reasons,
    short_ids,
    whole_id,
)
from app.cli.terminal import (
    AnyInstance,
    Instance,
    Json,
    Listing,
    described,
    err,
    fail,
    out,
    print_table,
    shown_time,
)
from app.client import CycleReport, SleepClient, SleepCycle, SleepPreview
from app.domain.decision import in_words
from app.domain.policy import SleepPolicy
from app.domain.presets import Preset
from app.domain.recipe import Recipe
from app.follow import follow_cycle, how_far

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
        out.print(_in_a_sentence(cycle), markup=False, soft_wrap=True)
        if words := _next_step(cycle):
            err.print(words, markup=False, soft_wrap=True)
    if follow and cycle.status in {"failed", "rejected", "cancelled"}:
        raise typer.Exit(1)


@app.command()
def cancel(
    cycle_id: Annotated[
        str | None,
        typer.Argument(help="Id, or its beginning; default: the one that is queued or running."),
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
        cycle_id = whole_id(client.list_sleep_cycles, cycle_id, "sleep cycle")
        cycle = client.cancel_sleep_cycle(cycle_id)
    if as_json:
        print_answer(cycle)
    elif cycle.is_ended:
        out.print(f"Cycle {cycle.number} is {cycle.status}; its experiences are free again.")
    else:
        out.print(f"Cycle {cycle.number} is {cycle.status} and stops within seconds.")


@app.command()
def wake(
    instance: Instance = "default",
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Let an instance's cycle make way until the instance is idle again."""
    with daemon(url, token, ca_file) as client:
        woken = client.wake(instance, actor="sage-sleep wake")
    if as_json:
        print_answer(woken)
        return
    if woken.sleep_cycle_id is None:
        out.print(f"{instance} is awake: no cycle of it runs or waits.", markup=False)
        return
    stops = "stops within seconds" if woken.was_running else "does not start"
    out.print(
        f"The cycle of {instance} {stops}; it goes on once no exchange has come for "
        f"{in_words(woken.idle_seconds)}.",
        markup=False,
        soft_wrap=True,
    )


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
    short = short_ids(
        [item for cycle in answer.data for item in (cycle.id, cycle.checkpoint_id) if item]
    )
    listing = Listing(
        "id", "instance", "no", "status", "when", "trained", "result", "checkpoint",
        yielding=("instance", "result"),
    )  # fmt: skip
    for cycle in answer.data:
        listing.add_row(
            short[cycle.id],
            cycle.instance,
            str(cycle.number),
            cycle.status,
            shown_time(cycle.finished_at or cycle.started_at or cycle.created_at),
            str(len(cycle.plan.experience_ids)),
            _result(cycle),
            short.get(cycle.checkpoint_id or "", ""),
        )
    print_table(listing, "No cycle yet; start one with `sage-sleep sleep --force`.")


@app.command()
def report(
    cycle_id: Annotated[
        str | None, typer.Argument(help="Id, or its beginning; default: the last one.")
    ] = None,
    instance: Instance = "default",
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Say what a cycle learned, what it kept, and what the gate said."""
    with daemon(url, token, ca_file) as client:
        if cycle_id is None:
            newest = client.list_sleep_cycles(instance=instance, limit=1).data
            if not newest:
                fail(f"{instance} has had no cycle; `sage-sleep sleep --force` starts one.")
            cycle_id = newest[0].id
        found = client.get_cycle_report(whole_id(client.list_sleep_cycles, cycle_id, "sleep cycle"))
    if as_json:
        print_answer(found)
    else:
        _print_report(found)


@app.command()
def rebuild(
    instance: Instance = "default",
    reason: Annotated[str | None, typer.Option(help="Kept with the cycle.")] = None,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Ask for a cycle from the bare base over all that is still consolidated, as after an erase."""
    with daemon(url, token, ca_file) as client:
        cycle = client.rebuild(instance, reason=reason, actor="sage-sleep rebuild")
    if as_json:
        print_answer(cycle)
        return
    out.print(_in_a_sentence(cycle), markup=False, soft_wrap=True)
    err.print("`sage-sleep watch` shows it live.", markup=False)


def _follow(client: SleepClient, cycle: SleepCycle, *, as_json: bool) -> SleepCycle:
    try:
        return follow_cycle(err if as_json else out, client, cycle.id)
    except KeyboardInterrupt:
        err.print(f"\nThe cycle goes on; `sage-sleep cancel {cycle.id}` ends it.", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None


def _in_a_sentence(cycle: SleepCycle) -> str:
    """What became of a cycle: its losses, the gate's verdict, its checkpoint."""
    took = (
        f" in {in_words((cycle.finished_at - cycle.started_at).total_seconds())}"
        if cycle.started_at and cycle.finished_at
        else ""
    )
    words = [f"Cycle {cycle.number} ({cycle.id}) is {cycle.status}{took}"]
    if loss := losses(cycle.metrics):
        words.append(f"held-out loss {loss} nats per token")
    if cycle.verdict is not None:
        passed = sum(check.passed for check in cycle.verdict.checks)
        words.append(f"{passed} of {len(cycle.verdict.checks)} checks of the gate passed")
    if cycle.checkpoint_id:
        words.append(f"checkpoint {cycle.checkpoint_id}")
    return "; ".join(words) + "."


def _result(cycle: SleepCycle) -> str:
    """In a list: how far it is, why it failed or was rejected, else its losses."""
    if not cycle.is_ended:
        return how_far(cycle.progress)
    if cycle.error is not None:
        return cycle.error.message
    if cycle.verdict is not None and cycle.status == "rejected":
        return "; ".join(check.text for check in cycle.verdict.checks if not check.passed)
    return losses(cycle.metrics)


def _print_report(found: CycleReport) -> None:
    out.print(f"{found.instance}, cycle {found.number}: {found.status}", style="bold")
    out.print(found.summary, markup=False, soft_wrap=True)
    if found.error is not None:
        out.print(found.error.message, markup=False, soft_wrap=True)
    for title, measures in (("What it learned", found.learned), ("What it kept", found.kept)):
        listing = Listing(title, "base", "before", "after", "+-", yielding=(title,))
        for one in measures:
            numbers = (one.base, one.before, one.after, one.standard_error)
            listing.add_row(one.words, *("" if n is None else f"{n:.3f}" for n in numbers))
        print_table(listing, "")
    for check in found.checks:
        if not check.passed:
            out.print(f"- {check.words}", markup=False, soft_wrap=True)
    for unfit in found.set_aside:
        out.print(f"set aside {unfit.experience_id}: {unfit.text}", markup=False, soft_wrap=True)
    for said in found.replies:
        words = f"\n> {said.prompt}\n  before: {said.before}\n  after: {said.after}"
        out.print(words, markup=False, soft_wrap=True)


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
    if preview.plan.layers is not None:
        out.print(f"  The adapter: {preview.plan.layers.summary}.", markup=False, soft_wrap=True)
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
