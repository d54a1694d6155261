"""The real daemon, whose cycles `tests.torture.child` runs: what `sage-sleep serve` does else."""

from __future__ import annotations

import sys

from app.cli.daemon import serve_with

if __name__ == "__main__":
    serve_with((sys.executable, "-m", "tests.torture.child"))
