"""The demo puts its daemon away, however it is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.patience import wait_until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_ended_demo_leaves_no_daemon(
    embedded_model: Path, tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "models").symlink_to(embedded_model.parent)
    environment = {**os.environ, "SAGE_DATA_DIR": str(tmp_path)}
    log = tmp_path / "demo" / "daemon.log"
    demo = subprocess.Popen(
        [sys.executable, "-P", "-m", "app", "demo"],
        env=environment, stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    wait_until(lambda: log.is_file() and log.stat().st_size > 0, "the daemon speaks")
    daemons = psutil.Process(demo.pid).children(recursive=True)
    assert any("serve" in process.cmdline() for process in daemons)
    demo.send_signal(number)
    assert demo.wait() != 0
    assert not [process for process in daemons if process.is_running()]
