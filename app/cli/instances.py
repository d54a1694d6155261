"""Commands about instances."""

from __future__ import annotations

import typer

from app.cli.terminal import AnyInstance, Json, Token, Url, daemon, out, print_json, print_reasons

app = typer.Typer()


@app.command()
def stats(
    instance: AnyInstance = None, url: Url = None, token: Token = None, as_json: Json = False
) -> None:
    """Show every instance at a glance."""
    with daemon(url, token) as client:
        answer = client.get_stats(instance)
    if as_json:
        print_json(answer)
        return
    for item in answer.instances:
        counts = ", ".join(f"{n} {status}" for status, n in item.counts.items() if n)
        out.print(f"[bold]{item.instance}[/bold]: {counts or 'no experience yet'}")
        print_reasons(item.decision)
        if item.last_cycle:
            out.print(f"  last cycle {item.last_cycle.number}: {item.last_cycle.status}")
        if item.current_checkpoint:
            out.print(f"  current checkpoint {item.current_checkpoint.name}")
