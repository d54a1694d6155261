"""How far the gate's measures move by chance, in a good cycle and in bad ones.

    python -m tests.benchmarks.evaluation_noise [--learning-rates 0 4e-4 5e-3 1e-7]

Trains the demo's session at each learning rate (0: the bare base), measures general knowledge once
and replies at twelve seeds, and prints every measure's value over all seeds, and its lowest and
highest over the four groups of three seeds that a cycle would have drawn. Limits in `GatePolicy`
must lie beyond a good cycle's extremes and short of a bad one's.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import fields, replace
from pathlib import Path

from app.domain.experience import TrainingExchange
from app.domain.gate import GatePolicy, judge
from app.domain.instance import SAGE_SYSTEM_PROMPT
from app.domain.measurement import Measurement
from app.domain.plan import TrainingJob
from app.domain.recipe import Recipe
from app.domain.replies import ReplyMeasures, measure_replies, names_in
from app.domain.salience import COMPONENTS, Salience
from app.training.chat import ChatEncoder
from app.training.evaluate import probe_replies
from app.training.loading import load_base_model
from app.training.lora import merge_adapter, read_adapter
from app.training.models import embedded_model_path
from app.training.trainer import LoraTrainer

SEEDS = tuple(range(12))
GROUP = 3
HELD_OUT = 6
SESSION = Path(__file__).parents[2] / "app" / "demo_session.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--learning-rates", nargs="*", type=float, default=[0.0, 4e-4, 5e-3, 1e-7])
    chosen = parser.parse_args()
    models = Path(os.environ.get("SAGE_TEST_CACHE", "~/.cache/sage-sleep-tests")).expanduser()
    with tempfile.TemporaryDirectory() as scratch:
        for number, rate in enumerate(chosen.learning_rates):
            output = Path(scratch) / str(number)
            output.mkdir()
            measure(str(embedded_model_path(models)), rate, output, Path(scratch) / "kept")


def measure(base_model: str, learning_rate: float, output: Path, kept: Path) -> None:
    exchanges = session()
    train = exchanges[:-HELD_OUT]
    print(f"\nlearning rate {learning_rate:g}, {len(train)} exchanges")
    if learning_rate:
        job = TrainingJob(
            base_model=base_model,
            parent_adapter=None,
            parent_base_sha256=None,
            output_directory=output,
            system_prompt=SAGE_SYSTEM_PROMPT,
            recipe=replace(Recipe(), learning_rate=learning_rate),
            train=train,
            held_out=exchanges[-HELD_OUT:],
            kept_directory=kept,
        )
        report = LoraTrainer().run(job, on_progress=lambda _: None, should_stop=lambda: False)
        verdict = judge(report, GatePolicy())
        evaluation = report.measures
        print(f"  {verdict.status}, scale {evaluation.scale:g}; seconds {rounded(report.seconds)}")
        for trial in evaluation.trials:
            kl, loss = trial.retention.general_kl, trial.retention.general_loss
            print(
                f"  scale {trial.scale:g}: held-out {trial.held_out.nats_per_token:.3f} from "
                f"{report.held_out_before.nats_per_token:.3f}, general KL {shown(kl)}, "
                f"anchor KL {shown(trial.retention.anchor_kl)}, general loss {shown(loss)} from "
                f"{evaluation.base.retention.general_loss.value:.3f}; "
                f"failed: {', '.join(trial.failed) or 'none'}"
            )
        failed = [check.name for check in verdict.checks if not check.is_passed]
        print(
            f"  failed: {', '.join(failed) or 'none'}; effect {report.effect_nats:.5f} nats, "
            f"largest update of a layer {evaluation.update_norm:.3f}"
        )
    base = load_base_model(base_model)
    if learning_rate:
        adapted = read_adapter(base.model, output, is_trainable=False)
        base = replace(base, model=merge_adapter(adapted))
    encoder = ChatEncoder(base.tokenizer, system_prompt=SAGE_SYSTEM_PROMPT, max_length=1024)
    replies = probe_replies(base, encoder, (), seeds=SEEDS)
    groups = [SEEDS[start : start + GROUP] for start in range(0, len(SEEDS), GROUP)]

    def over(seeds: tuple[int, ...]) -> ReplyMeasures:
        return measure_replies(
            [reply for reply in replies if reply.seed in seeds],
            training_replies=[exchange.response for exchange in train],
            names=names_in(SAGE_SYSTEM_PROMPT),
        )

    whole, parts = over(SEEDS), [over(seeds) for seeds in groups]
    for field in fields(ReplyMeasures):
        value = getattr(whole, field.name)
        if isinstance(value, Measurement):
            extremes = sorted(getattr(part, field.name).value for part in parts)
            print(
                f"  {field.name:16} {shown(value)}; of {GROUP} seeds "
                f"{extremes[0]:.3f} .. {extremes[-1]:.3f}"
            )


def session() -> tuple[TrainingExchange, ...]:
    salience = Salience(**dict.fromkeys(COMPONENTS, 0.6))
    return tuple(
        TrainingExchange(experience_id=str(i), prompt=prompt, response=reply, salience=salience)
        for i, (prompt, reply) in enumerate(json.loads(SESSION.read_text()))
    )


def shown(measurement: Measurement) -> str:
    return f"{measurement.value:.3f} ± {measurement.standard_error:.3f}"


def rounded(seconds: object) -> dict[str, float]:
    return {name: round(value, 1) for name, value in dict(seconds).items()}  # type: ignore[call-overload]


if __name__ == "__main__":
    main()
