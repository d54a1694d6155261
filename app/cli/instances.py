"""Commands about instances: their settings, and how each stands."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli.asking import CaFile, Token, Url, daemon, print_answer, print_reasons
from app.cli.terminal import AnyInstance, Json, Listing, err, out, print_table, shown_time
from app.client import Instance, InstanceStats
from app.domain.nearest import did_you_mean, nearest
from app.domain.policy import SleepPolicy
from app.domain.presets import PRESET_FIELD
from app.domain.recipe import Recipe

app = typer.Typer()
instances_app = typer.Typer(invoke_without_command=True, help="Instances and their settings.")

SECTIONS = frozenset({"policy", "recipe"})
OWN_FIELDS = frozenset({"base_model", "model_name", "system_prompt", "timezone"})


@app.command()
def stats(
    instance: AnyInstance = None,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Show every instance at a glance."""
    with daemon(url, token, ca_file) as client:
        answer = client.get_stats(instance) if instance else client.get_all_stats()
    if as_json:
        print_answer(answer)
        return
    if len(answer.instances) == 1:
        _print_one(answer.instances[0])
        return
    listing = Listing(
        "instance", "mass", "of", "waiting", "last cycle", "live", "sleep",
        yielding=("instance", "sleep"),
    )  # fmt: skip
    for item in answer.instances:
        last, live = item.last_cycle, item.current_checkpoint
        listing.add_row(
            item.instance,
            f"{item.mass:.1f}",
            f"{item.mass_threshold:g}",
            str(item.counts.get("buffered", 0)),
            f"{last.number} {last.status}" if last else "",
            live.name.rpartition("/")[2].partition("-")[0] if live else "base",
            _sleep_in_words(item),
        )
    print_table(listing, "No instance yet; `sage-sleep instances put NAME` makes one.")


@instances_app.callback()
def instances(
    context: typer.Context,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """List all instances with what they set themselves; `put` makes one, `set` changes it."""
    if context.invoked_subcommand is not None:
        return
    with daemon(url, token, ca_file) as client:
        answer = client.list_instances()
    if as_json:
        print_answer(answer)
        return
    table = Listing(
        "instance", "base model", "sleeps at mass", "own settings", "last exchange",
        yielding=("instance", "base model", "own settings"),
    )  # fmt: skip
    for item in answer.data:
        table.add_row(
            item.instance,
            item.base_model or f"none is known for {item.model_name}",
            f"{item.policy.mass_threshold:g}",
            ", ".join(_own_settings(item)),
            shown_time(item.last_exchange_at) or "never",
        )
    print_table(table, "No instance yet; `sage-sleep instances put NAME` makes one.")
    for item in answer.data:
        if item.base_model is None:
            err.print(
                f"{item.instance} trains nothing: run `sage-sleep model use {item.instance} BASE` "
                "with a hub id or a directory.",
                style="yellow",
                soft_wrap=True,
            )


@instances_app.command("put")
def put_instance(
    slug: Annotated[str, typer.Argument(help="<machine>-<model>, such as sprout-qwen2.5-0.5b.")],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Such as policy.mass_threshold=12, recipe.epochs=1 or timezone=Europe/Lisbon; "
            "may be given several times.",
        ),
    ] = None,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Create an instance, or replace its settings: what is not named follows the daemon's."""
    values: dict[str, Any] = {}
    for setting in settings or ():
        _lay(values, setting)
    with daemon(url, token, ca_file) as client:
        instance = client.put_instance(slug, **values)
    _print_settings(instance, as_json=as_json)


@instances_app.command("set")
def set_(
    slug: Annotated[str, typer.Argument(help="The instance.")],
    settings: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=VALUE...",
            help="Such as policy.mass_threshold=12, recipe.epochs=1 or timezone=Europe/Lisbon.",
        ),
    ],
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Change single settings of an instance; the others stay."""
    values: dict[str, Any] = {}
    for setting in settings:
        _lay(values, setting)
    with daemon(url, token, ca_file) as client:
        instance = client.patch_instance(slug, **values)
    _print_settings(instance, as_json=as_json)


@instances_app.command("unset")
def unset(
    slug: Annotated[str, typer.Argument(help="The instance.")],
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Such as policy.mass_threshold.")
    ],
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Let single settings of an instance follow the daemon's again."""
    values: dict[str, Any] = {}
    for name in names:
        _check_name(name)
        section, dot, field = name.partition(".")
        if dot:
            values.setdefault(section, {})[field] = None
        else:
            values[name] = None
    with daemon(url, token, ca_file) as client:
        instance = client.patch_instance(slug, **values)
    _print_settings(instance, as_json=as_json)


def _print_settings(instance: Instance, *, as_json: bool) -> None:
    if as_json:
        print_answer(instance)
        return
    own = ", ".join(_own_settings(instance))
    out.print(f"{instance.instance} has {own or 'every setting from the daemon'}.", soft_wrap=True)


def _print_one(item: InstanceStats) -> None:
    counts = ", ".join(f"{n} {status}" for status, n in item.counts.items() if n)
    out.print(Text.assemble((item.instance, "bold"), f": {counts or 'no experience yet'}"))
    print_reasons(item.decision)
    if item.last_cycle:
        out.print(f"  last cycle {item.last_cycle.number}: {item.last_cycle.status}")
    if item.current_checkpoint:
        out.print(f"  current checkpoint {item.current_checkpoint.name}")


def _sleep_in_words(item: InstanceStats) -> str:
    """What keeps it from sleeping, or that it sleeps."""
    if item.running_cycle is not None:
        return f"cycle {item.running_cycle.number} {item.running_cycle.status}"
    against = [reason.text for reason in item.decision.reasons if not reason.met]
    return "; ".join(against) or "due"


def _lay(values: dict[str, Any], setting: str) -> None:
    """Add one `name=value` to the settings; a value that is no JSON is text."""
    name, equals, text = setting.partition("=")
    _check_name(name)
    if not equals:
        raise typer.BadParameter(f"{setting!r} has no value; write {name}=VALUE.")
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    section, dot, field = name.partition(".")
    if dot:
        values.setdefault(section, {})[field] = value
    else:
        values[name] = text


def _check_name(name: str) -> None:
    """Demand a name that an instance has, or say which one was meant."""
    known = sorted(
        {*OWN_FIELDS, f"recipe.{PRESET_FIELD}"}
        | {f"policy.{field.name}" for field in fields(SleepPolicy)}
        | {f"recipe.{field.name}" for field in fields(Recipe)}
    )
    if name in known:
        return
    last = {one.rpartition(".")[2]: one for one in known}
    near = nearest(name, known) or [last[one] for one in nearest(name.rpartition(".")[2], last)]
    meant = did_you_mean(near)
    raise typer.BadParameter(
        f"{name!r} is no setting of an instance; "
        + (meant or f"write policy.NAME, recipe.NAME, or one of {', '.join(sorted(OWN_FIELDS))}.")
    )


def _own_settings(instance: Instance) -> list[str]:
    return [
        f"{section}.{name}={value}"
        for section in sorted(SECTIONS)
        for name, value in instance.overrides.raw.get(section, {}).items()
    ]
