"""Training and a whole cycle on a GPU: `python -m tests.benchmarks.gpu --model DIR [--out FILE]`.

Printed, and written as JSON: the product of two large bf16 matrices, which is taken for the card's
peak; tokens a second, peak memory and the share of that peak, for each contender on each geometry;
the gate's replies, all rows at once and one by one; and two whole cycles, the second with what the
first kept, by phase. `--small` is a dry run of a
minute on a CPU, with models of two thin layers: its figures mean nothing.

    older      the older scripts' loop: fp32, one exchange at a time, PEFT and AdamW
    padded     padded rows in parts of 512 tokens through the model's own forward pass: the way
               before there was one for accelerators
    packed     what a cycle does now, with the default recipe
    packed 16  the same with 16 exchanges a step; `padded 16` likewise
    packed 8bit, packed 4bit  the same on a rounded base, where bitsandbytes is installed
    packed compiled  the same through `torch.compile`, its warm-up included; `warm` is without
    trl 4      TRL's SFTTrainer in bf16, 4 exchanges a step, where it is installed; 16 likewise
    unsloth 4  Unsloth's model in it, likewise

Share of the peak: a token costs 2 P multiplications and additions forward, 2 P back to the layers
below, P being the weights that it is multiplied by; the adapter's and attention's own are left out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from app.domain.experience import TrainingExchange, content_hash
from app.domain.instance import SAGE_SYSTEM_PROMPT
from app.domain.plan import TrainingJob
from app.domain.recipe import Recipe
from app.domain.salience import COMPONENTS, Salience
from app.settings import Settings
from app.training.anchors import general_prompts
from app.training.chat import ChatEncoder
from app.training.evaluate import REPLY_SEEDS, REPLY_TOKENS
from app.training.examples import make_examples
from app.training.generation import Draw, continue_prompts
from app.training.loading import load_base_model, load_tokenizer
from app.training.trainer import LoraTrainer
from tests.benchmarks.gpu_contenders import CONTENDERS, Figures, Machine

SESSION = Path(__file__).parents[2] / "app" / "demo_session.json"
HELD_OUT = 16
PEAK_SIDE = 8192
PEAK_ROUNDS = 20
QWEN = {
    "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
    "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936,
}  # fmt: skip
"""Qwen2.5-0.5B's; its weights are not needed to time it."""

THIN = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip


def look(device: torch.device, side: int) -> Machine:
    """Time one product of two bf16 matrices."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    machine = Machine(device, name, 0.0)
    left = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    result = left @ left
    machine.wait()
    started = time.monotonic()
    for _ in range(PEAK_ROUNDS):
        result = left @ left
    machine.wait()
    seconds = time.monotonic() - started
    del result
    return replace(machine, peak=PEAK_ROUNDS * 2 * side**3 / seconds)


def read_exchanges(count: int, buffer: Path | None) -> list[TrainingExchange]:
    """So many different exchanges: of a buffer, or the demo's session again and again."""
    stored = json.loads((buffer or SESSION).read_text(encoding="utf-8"))
    pairs = [
        (one["prompt"], one["response"]) if isinstance(one, dict) else tuple(one) for one in stored
    ]
    found = []
    for number in range(count):
        prompt, response = pairs[number % len(pairs)]
        if number >= len(pairs):
            prompt = f"On day {number // len(pairs) + 1}: {prompt}"
        found.append(
            TrainingExchange(
                experience_id=f"{number:06}-{content_hash(prompt, response)[:19]}",
                prompt=prompt,
                response=response,
                salience=Salience(**dict.fromkeys(COMPONENTS, 0.7)),
            )
        )
    return found


def write_geometry(path: Path, kind: str, sizes: dict[str, int], tokenizer_of: Path) -> Path:
    """A model of random bf16 weights as a directory, with another's tokenizer."""
    tokenizer = load_tokenizer(str(tokenizer_of))
    config: Any = AutoConfig.for_model(
        kind, **{"vocab_size": len(tokenizer), **sizes}, tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    model.to(torch.bfloat16).save_pretrained(str(path))
    tokenizer.save_pretrained(str(path))
    return path


def race(machine: Machine, model: Path, exchanges: Sequence[TrainingExchange]) -> dict[str, Any]:
    """Every contender on one model, from the start; what breaks is named, and the rest goes on."""
    encoder = ChatEncoder(
        load_tokenizer(str(model)), system_prompt=SAGE_SYSTEM_PROMPT, max_length=Recipe().max_length
    )
    examples, _ = make_examples(exchanges, encoder)
    found: dict[str, Any] = {}
    for name, train in CONTENDERS.items():
        machine.begin()
        try:
            found[name] = train(machine, model, examples)
        except (RuntimeError, ValueError) as error:  # out of memory is a RuntimeError
            found[name] = {"error": f"{type(error).__name__}: {error}"[:300]}
            continue
        found[name].setdefault("peak_mb", machine.peak_mb())
        found[name]["share_of_peak"] = found[name]["operations_per_second"] / machine.peak
    return found


def replies(machine: Machine, model: Path) -> dict[str, float]:
    """Tokens a second of the gate's replies, all rows at once and one by one."""
    base = load_base_model(str(model), device=machine.device)
    encoder = ChatEncoder(
        base.tokenizer, system_prompt=SAGE_SYSTEM_PROMPT, max_length=Recipe().max_length
    )
    prompts = [*general_prompts().probes, *general_prompts().endings]
    draws = [
        Draw(prompt=tuple(encoder.encode_prompt(prompt)), seed=seed)
        for prompt in prompts
        for seed in REPLY_SEEDS
    ]
    found = {}
    for name, shares in (("at once", [draws]), ("one by one", [[one] for one in draws[:4]])):
        machine.wait()
        started = time.monotonic()
        written = [
            len(row)
            for share in shares
            for row in continue_prompts(
                base.model, share, new_tokens=REPLY_TOKENS, end_ids=base.end_ids
            )
        ]
        machine.wait()
        found[name] = sum(written) / (time.monotonic() - started)
    return found


def sleep(machine: Machine, model: Path, exchanges: Sequence[TrainingExchange]) -> list[Figures]:
    """Two whole cycles, from the job to the report; the second finds what the first kept."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        for number in range(2):
            machine.begin()
            room = Path(name) / str(number)
            room.mkdir()
            job = TrainingJob(
                base_model=str(model),
                parent_adapter=None,
                parent_base_sha256=None,
                output_directory=room,
                system_prompt=SAGE_SYSTEM_PROMPT,
                recipe=replace(Recipe(), device=str(machine.device)),
                train=tuple(exchanges[HELD_OUT:]),
                held_out=tuple(exchanges[:HELD_OUT]),
                probe_prompts=Settings().probe_prompts,
                kept_directory=Path(name) / "kept",
            )
            started = time.monotonic()
            report = LoraTrainer().run(job, on_progress=lambda _: None, should_stop=lambda: False)
            after = report.measures.after.retention
            found.append(
                {
                    "seconds": time.monotonic() - started,
                    "phases": dict(report.seconds),
                    "tokens_per_second": report.tokens_per_second,
                    "held_out_gain": report.measures.held_out_gain.value,
                    "general_kl": after.general_kl.value,
                    "general_loss": after.general_loss.value,
                    "peak_mb": machine.peak_mb(),
                    "environment": dict(report.environment),
                }
            )
    return found


def main() -> None:
    """Measure, print a table, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="The embedded model's directory.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--exchanges", type=int, default=128)
    parser.add_argument("--buffer", type=Path, help="A JSON list with prompt and response each.")
    parser.add_argument("--small", action="store_true", help="A dry run: the CPU, thin models.")
    parser.add_argument("--out", type=Path, help="For the JSON.")
    told = parser.parse_args()
    device = torch.device("cpu" if told.small else told.device)
    machine = look(device, 256 if told.small else PEAK_SIDE)
    exchanges = read_exchanges(HELD_OUT + (4 if told.small else told.exchanges), told.buffer)
    print(f"{machine.name}, torch {torch.__version__}: {machine.peak / 1e12:.1f} bf16 TFLOP/s\n")
    found: Figures = {"device": machine.name, "torch": str(torch.__version__), "peak": machine.peak}
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        own = told.model
        if told.small:
            own = write_geometry(room / "thin", "llama", THIN, told.model)
        qwen = write_geometry(room / "qwen", "qwen2", THIN if told.small else QWEN, told.model)
        print("| geometry | contender | dtype | tokens/s | share of peak | peak MB | loss |")
        print("|---|---|---|---|---|---|---|")
        for label, model in (("SmolLM2-135M", own), ("Qwen2.5-0.5B", qwen)):
            found[label] = race(machine, model, exchanges[HELD_OUT:])
            for contender, figures in found[label].items():
                print(f"| {label} | {contender} | {row(figures)} |", flush=True)
        found["replies"] = replies(machine, own)
        found["cycles"] = sleep(machine, own, exchanges)
    told_of = ", ".join(f"{name} {speed:.0f}" for name, speed in found["replies"].items())
    print(f"\nReplies of the gate, tokens/s: {told_of}")
    print("\n| cycle | s | tokens/s | held-out gain | general KL | peak MB | phases |")
    print("|---|---|---|---|---|---|---|")
    for number, figures in enumerate(found["cycles"], start=1):
        phases = ", ".join(f"{name} {value:.1f}" for name, value in figures["phases"].items())
        print(
            f"| {number} | {figures['seconds']:.1f} | {figures['tokens_per_second']:.0f} | "
            f"{figures['held_out_gain']:.3f} | {figures['general_kl']:.3f} | "
            f"{shown(figures['peak_mb'])} | {phases} |"
        )
    if told.out is not None:
        told.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def row(figures: Figures) -> str:
    """The cells of one contender."""
    if "error" in figures:
        return f"| | | | {figures['error']}"
    return (
        f"{figures['dtype']} | {figures['tokens_per_second']:.0f} | "
        f"{figures['share_of_peak']:.1%} | {shown(figures['peak_mb'])} | {figures['loss'] or 0:.3f}"
    )


def shown(megabytes: float | None) -> str:
    """A device that does not count its memory tells none."""
    return "" if megabytes is None else f"{megabytes:.0f}"


if __name__ == "__main__":
    main()
