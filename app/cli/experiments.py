"""Commands that train outside the cycles, read only: make a checkpoint again, question salience."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any

import typer

from app.cli.terminal import Instance, Json, err, explained, out, print_json, read_settings
from app.domain.progress import Progress, Stage
from app.log import configure_logging
from app.settings import Settings

app = typer.Typer()


@app.command()
def reproduce(
    checkpoint: Annotated[
        str, typer.Argument(help="Id of a checkpoint, its beginning, or INSTANCE/NUMBER-ID.")
    ],
    as_json: Json = False,
) -> None:
    """Run a checkpoint's manifest again and compare the adapter byte for byte.

    Takes as long as its cycle. Nothing changes; exit code 1 where the bytes differ.
    """
    from app.cli.database import open_pair  # noqa: PLC0415
    from app.worker import experiment  # noqa: PLC0415
    from app.worker.child import stop_on_signal  # noqa: PLC0415

    with _experiment() as settings, open_pair(settings) as db:
        prepared = experiment.prepare_reproduction(db, checkpoint, root=settings.checkpoints_dir)
        # Sums come out the same only where they are split among as many threads.
        threads = prepared.recorded.environment.get("threads")
        if threads:
            os.environ.setdefault("OMP_NUM_THREADS", threads)
        from app.training.trainer import LoraTrainer  # noqa: PLC0415

        stop = stop_on_signal()
        with experiment.experiment_room(settings.scratch_dir, settings.kept_dir) as room:
            outcome = experiment.reproduce(
                prepared,
                room,
                root=settings.checkpoints_dir,
                gate=db.defaults.gate,
                trainer=LoraTrainer(),
                on_progress=partial(_telling(), checkpoint),
                should_stop=stop.is_set,
            )
    if as_json:
        print_json(outcome.describe())
    else:
        for sentence in outcome.explanation():
            out.print(sentence, markup=False, soft_wrap=True)
    if not outcome.is_reproduced:
        raise typer.Exit(1)


@app.command()
def calibrate(
    instance: Instance = "default",
    seeds: Annotated[
        int, typer.Option(min=1, help="Trainings of either kind; more tell the noise better.")
    ] = 1,
    max_experiences: Annotated[
        int | None, typer.Option(min=1, help="Fewer than a cycle would take.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Ask whether salience chooses well: train on its selection, and on a random one as large.

    Takes as long as two cycles for each seed. Nothing changes and nothing is published.
    """
    from app.cli.database import open_pair  # noqa: PLC0415
    from app.services.experiments import order_calibration  # noqa: PLC0415
    from app.worker import experiment  # noqa: PLC0415
    from app.worker.child import stop_on_signal  # noqa: PLC0415

    with _experiment() as settings:
        with open_pair(settings) as db:
            order = order_calibration(db, instance, max_experiences=max_experiences, seeds=seeds)
        stop = stop_on_signal()
        with experiment.experiment_room(settings.scratch_dir, settings.kept_dir) as room:
            from app.training.trainer import LoraTrainer  # noqa: PLC0415

            outcome = experiment.calibrate(
                order,
                room,
                root=settings.checkpoints_dir,
                gate=db.defaults.gate,
                trainer=LoraTrainer(),
                measure=_measure_adapters,
                on_progress=_telling(),
                should_stop=stop.is_set,
            )
    if as_json:
        print_json(outcome.describe())
    else:
        out.print(outcome.explanation(), markup=False, soft_wrap=True)


def _measure_adapters(*arguments: Any, **options: Any) -> Any:
    """Import torch only after the trainer has set its environment."""
    from app.training.comparison import measure_adapters  # noqa: PLC0415

    return measure_adapters(*arguments, **options)


@contextmanager
def _experiment() -> Iterator[Settings]:
    """Settings for a training that gives way to everything else; errors become sentences."""
    from app.worker.experiment import step_aside  # noqa: PLC0415

    with explained():
        settings = read_settings()
        step_aside(settings.child_niceness)
        configure_logging(level=settings.log_level, log_format=settings.log_format)
        yield settings


def _telling() -> Callable[[str, Progress], None]:
    """Say on the error stream what happens, each stage once, training every ten per cent."""
    said: set[tuple[str, Stage, int]] = set()

    def tell(what: str, progress: Progress) -> None:
        tenth = 10 * progress.step // max(progress.total_steps, 1)
        if (what, progress.stage, tenth) in said:
            return
        said.add((what, progress.stage, tenth))
        steps = f" {progress.step} of {progress.total_steps}" if progress.total_steps else ""
        err.print(f"{what}: {progress.stage.value.replace('_', ' ')}{steps}", markup=False)

    return tell
