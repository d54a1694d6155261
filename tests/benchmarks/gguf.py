"""How far a checkpoint in llama.cpp is from the same in PEFT: `python -m tests.benchmarks.gguf`.

An adapter is trained on the embedded model for a moment, exported in every form, and asked for the
next token behind prompts and within replies. The table stands in the guide
(`app/web/guide/runtimes.md`). What is refused is made too, by hand, to show why: a merged model
rounded to four bits.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np

from app.artifacts.bases import find_base_gguf
from app.domain.export import Export
from app.exports.making import make
from app.exports.merged import Numbers, write_merged_gguf
from app.training.fetching import fetch_embedded_model
from tests.exports.llama import Llama, Table, distance
from tests.exports.taught import REPLY_TOKENS, Taught, teach

CACHE = Path(os.environ.get("SAGE_TEST_CACHE", Path.home() / ".cache" / "sage-sleep-tests"))


def main() -> None:
    """Train, export, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gentle", action="store_true", help="Train it for a smaller change.")
    steps, learning_rate = (8, 2e-4) if parser.parse_args().gentle else (16, 2e-3)
    base = fetch_embedded_model(CACHE)
    four_bits = find_base_gguf(base)
    if four_bits is None:
        parser.error("the embedded model's GGUF file is not there; `sage-sleep model fetch`")
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        taught = teach(base, room, steps=steps, learning_rate=learning_rate)
        effect = float((np.exp(taught.adapted) * (taught.adapted - taught.bare)).sum(1).mean())
        print(f"the adapter moves the next token by {effect:.2f} nats of KL\n")
        plain, adapter = room / "base.gguf", room / Export.ADAPTER_GGUF
        write_merged_gguf([], base, plain, numbers=Numbers.F32, name="base")
        print("| in llama.cpp | KL | correlation | same greedy replies | MB | made in s |")
        print("|---|---|---|---|---|---|")
        seconds = timed(lambda: make(Export.ADAPTER_GGUF, room, base, adapter))
        bare = ask(taught, Llama(plain))
        compare("adapter over the base in float32", taught, bare, (plain, adapter), seconds)
        in_four = ask(taught, Llama(four_bits))
        compare("adapter over the embedded Q4_1", taught, in_four, (four_bits, adapter), seconds)
        for export in (Export.MERGED_F16, Export.MERGED_Q8_0):
            file = room / export
            seconds = timed(lambda: make(export, room, base, file))  # noqa: B023  # called at once
            compare(f"merged, {export}", taught, bare, (file,), seconds)
        lossy = room / "merged-q4_0.gguf"
        seconds = timed(lambda: write_four_bits(room / Export.MERGED_F16, lossy))
        compare("merged, four bits (refused)", taught, bare, (lossy,), seconds)


def ask(taught: Taught, llama: Llama) -> Table:
    """What it says of every prompt."""
    return llama.next_tokens(taught.places, vocabulary=taught.bare.shape[1])


def compare(
    name: str, taught: Taught, their_base: Table, files: tuple[Path, ...], seconds: float
) -> None:
    """Print one row; of two files the second is the adapter."""
    llama = Llama(*files)
    found = distance(taught.adapted, taught.bare, theirs=ask(taught, llama), their_base=their_base)
    replies = [llama.reply(prompt, tokens=REPLY_TOKENS) for prompt in taught.prompts]
    same = sum(
        len(said) > 1 and said == expected[: len(said)]
        for said, expected in zip(replies, taught.replies, strict=True)
    )
    size = files[-1].stat().st_size / 1e6
    print(
        f"| {name} | {found.kl:.4f} | {found.effect_correlation:.4f} | {same} of {len(replies)} | "
        f"{size:.0f} | {seconds:.1f} |",
        flush=True,
    )


def timed(what: Callable[[], None]) -> float:
    """Seconds that it takes."""
    started = time.monotonic()
    what()
    return time.monotonic() - started


def write_four_bits(source: Path, target: Path) -> None:
    """A GGUF file's matrices rounded to Q4_0, as llama.cpp's own reference does it."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == gguf.Keys.General.ARCHITECTURE:
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)
    for tensor in reader.tensors:
        if tensor.tensor_type != gguf.GGMLQuantizationType.F16:
            writer.add_tensor(tensor.name, tensor.data)
            continue
        rounded = gguf.quantize(tensor.data.astype(np.float32), gguf.GGMLQuantizationType.Q4_0)
        writer.add_tensor(tensor.name, rounded, raw_dtype=gguf.GGMLQuantizationType.Q4_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
