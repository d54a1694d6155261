"""Every family that tests know, side by side: `python -m tests.benchmarks.families [NAME ...]`.

Tiny models of random weights and real configuration classes, with a chat template of their like.
For each: layers adapted of all; whether the reply's first token and its turn's end are learned, and
whether plain transformers stops at that end, too; the loss of a drawn adapter against transformers'
own; the KL of the base to itself; and a whole cycle through the gate, with one general prompt of
each kind in place of them all, since what a random model answers says nothing.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from app.domain.experience import TrainingExchange
from app.domain.gate import judge
from app.domain.plan import TrainingJob
from app.domain.recipe import Recipe
from app.errors import SageSleepError
from app.training.anchors import GeneralPrompts, general_prompts, kl_to_base
from app.training.batches import pad_batch
from app.training.chat import IGNORED_LABEL, ChatEncoder
from app.training.examples import make_example
from app.training.job import run_job
from app.training.loading import load_base_model, pad_token_of
from app.training.lora import attach_adapter
from app.training.loss import losses_of, predicting_states
from tests.fuzz.conversations import NONE
from tests.tiny import LOOSE
from tests.training.tiny_families import TINY, save_family

SYSTEM = "You are SAGE."
REPLY = "We noticed, precisely, that the basil was not a fern; what should we look at together?"
RECIPE = Recipe(epochs=1, r=4, lora_alpha=8)
EXCHANGES = tuple(
    TrainingExchange(
        experience_id=str(n), prompt=f"Told {n}?", response=f"{REPLY} {n}", salience=NONE
    )
    for n in range(5)
)
HEAD = ("family", "layers", "first", "end", "stops", "loss off by", "KL to itself", "cycle", "s")


@contextmanager
def few_prompts() -> Iterator[None]:
    """One general prompt of each kind."""
    whole = general_prompts()
    few = GeneralPrompts(
        anchors=whole.anchors[:2],
        general=whole.general[:2],
        probes=whole.probes[:1],
        endings=whole.endings[:1],
    )
    modules = [
        m for m in sys.modules.values() if getattr(m, "general_prompts", None) is general_prompts
    ]
    for module in modules:
        module.general_prompts = lambda: few  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in modules:
            module.general_prompts = general_prompts  # type: ignore[attr-defined]


def look(base: Path) -> list[str]:
    """What is learned and how it is measured, beside the model's own words."""
    loaded = load_base_model(str(base))
    encoder = ChatEncoder(loaded.tokenizer, system_prompt=SYSTEM, max_length=400)
    examples = [make_example(exchange, encoder) for exchange in EXCHANGES[:2]]
    labels = [int(label) for label in examples[0]["labels"] if label != IGNORED_LABEL]
    said = str(loaded.tokenizer.decode(labels[:3])).lstrip()
    batch = pad_batch(examples, pad_token_of(loaded.tokenizer))
    with torch.no_grad():
        bare, _, _ = predicting_states(loaded.model, batch)
        kl = float(kl_to_base(loaded.model, bare, bare).abs().max())
    attached = attach_adapter(loaded.model, RECIPE)
    torch.manual_seed(1)
    for name, parameter in attached.adapted.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.05)
    with torch.no_grad():
        own = loaded.model(input_ids=batch["input_ids"], use_cache=False).logits[:, :-1].float()
        targets = batch["labels"][:, 1:].flatten()
        expected = torch.nn.functional.cross_entropy(
            own.flatten(0, 1), targets, ignore_index=IGNORED_LABEL, reduction="none"
        )[targets != IGNORED_LABEL]
        states, chosen, _ = predicting_states(loaded.model, batch)
        off = float((losses_of(loaded.model, states, chosen).float() - expected).abs().max())
    return [
        attached.layers.summary.partition(" layers")[0],
        "yes" if REPLY.startswith(said[:2]) else f"no ({said!r})",
        "yes" if set(labels) & encoder.end_ids else "no",
        "yes" if set(labels) & loaded.end_ids else "only by the template's end",
        f"{off:.1e}",
        f"{kl:.1e}",
    ]


def sleep(base: Path, output: Path) -> str:
    """A whole cycle, and what a gate that lets random models through said of it."""
    output.mkdir()
    job = TrainingJob(
        base_model=str(base),
        parent_adapter=None,
        parent_base_sha256=None,
        output_directory=output,
        system_prompt=SYSTEM,
        recipe=RECIPE,
        train=EXCHANGES[:4],
        held_out=EXCHANGES[4:],
        probe_prompts=(),
        gate=LOOSE,
    )
    report = run_job(
        job, on_progress=lambda _: None, should_stop=lambda: False, imports_seconds=0.0
    )
    return str(judge(report, LOOSE).status)


def main() -> None:
    """Print the table."""
    print(*HEAD, sep=" | ")
    with few_prompts():
        for name in sys.argv[1:] or TINY:
            started = time.monotonic()
            with tempfile.TemporaryDirectory() as directory:
                base = save_family(name, Path(directory) / "base")
                try:
                    cells = [*look(base), sleep(base, Path(directory) / "out")]
                except SageSleepError as error:
                    cells = [f"{error.code}: {error.message}"]
            taken = f"{time.monotonic() - started:.1f}"
            print(name, *cells, taken, sep=" | ", flush=True)


if __name__ == "__main__":
    main()
