"""The real daemon, whose cycles `tests.torture.child` runs: what `sage-sleep serve` does else."""

from __future__ import annotations

import sys

from app.cli.daemon import serve_with
from tests.torture import faults

if __name__ == "__main__":
    faults.obey_clock()
    serve_with((sys.executable, "-m", "tests.torture.child"))
