"""The commands. With `__main__.py` and `main.py` the composition root: nothing imports it.

Commands that need torch import it when they run, so that the others start at once. Exit codes:
0 done, 1 refused or failed (the message says what to do), 2 wrong usage, 3 no daemon answers.

One file per noun; each holds a Typer whose commands stand side by side here.
"""

from __future__ import annotations

import typer

from app.cli import (
    checkpoints,
    cycles,
    daemon,
    exchanges,
    experiments,
    export,
    instances,
    models,
    tokens,
    upkeep,
    watch,
)
from app.cli.terminal import EXIT_CODES

app = typer.Typer(
    no_args_is_help=True,
    help="SAGE Sleep: sleep for small language models.",
    epilog=EXIT_CODES,
)
for noun in (daemon, exchanges, export, cycles, checkpoints, experiments, instances, watch, models):
    app.add_typer(noun.app)
app.add_typer(instances.instances_app, name="instances")
app.add_typer(models.model_app, name="model")
app.add_typer(tokens.app, name="tokens")
app.add_typer(upkeep.app)
