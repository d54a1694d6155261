"""The commands. With `__main__.py` and `main.py` the composition root: nothing imports it.

Commands that need torch import it when they run, so that the others start at once. Exit codes:
0 done, 1 refused or failed (the message says what to do), 2 wrong usage, 3 no daemon answers.

One file per noun; each holds a Typer whose commands stand side by side here.
"""

from __future__ import annotations

import typer

from app.cli import checkpoints, cycles, daemon, exchanges, experiments, instances, models, tokens

app = typer.Typer(no_args_is_help=True, help="SAGE Sleep: sleep for small language models.")
for noun in (daemon, exchanges, cycles, checkpoints, experiments, instances, models):
    app.add_typer(noun.app)
app.add_typer(models.model_app, name="model")
app.add_typer(tokens.app, name="tokens")
