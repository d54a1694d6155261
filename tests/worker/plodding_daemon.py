"""The real daemon, whose cycles train slowly and say so."""

from __future__ import annotations

import sys

from app.cli.daemon import serve_with

if __name__ == "__main__":
    serve_with((sys.executable, "-m", "tests.worker.children", "plod"))
