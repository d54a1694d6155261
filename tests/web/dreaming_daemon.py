"""The real daemon, whose cycles `tests.web.dreaming_child` runs."""

from __future__ import annotations

import sys

from app.cli.daemon import serve_with

if __name__ == "__main__":
    serve_with((sys.executable, "-m", "tests.web.dreaming_child"))
