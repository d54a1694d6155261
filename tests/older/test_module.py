"""One import brings everything, and no more than is asked for."""

from __future__ import annotations

import subprocess
import sys

from app import older


def test_one_import_brings_all_of_them() -> None:
    for name in older.__all__:
        assert name == "TrainingSet" or getattr(older, name).__doc__


def test_collecting_brings_no_torch() -> None:
    code = (
        "import sys; from app.older import ExperienceCollector, ConversationalSalienceScorer; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
