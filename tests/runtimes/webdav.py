"""A WebDAV server on loopback: rclone's own, over a directory."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.patience import wait_until

PASSWORD = "correct horse battery"


class WebDav:
    """A directory behind `rclone serve webdav`, on a port that stays."""

    def __init__(self, program: Path, directory: Path, log: Path) -> None:
        self.program = program
        self.directory = directory
        self._log = log
        self.address = "127.0.0.1:0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Serve, and learn the address."""
        # a file: a pipe that nobody reads on fills up, and the server waits for ever
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [
                    *(str(self.program), "serve", "webdav", str(self.directory)),
                    *("--config", "", "-v"),
                    *("--addr", self.address, "--user", "sage", "--pass", PASSWORD),
                    *("--dir-cache-time", "0s"),
                ],
                stderr=log,
            )
        self.address = wait_until(self._find_address, self._log.read_text)

    def _find_address(self) -> str | None:
        found = re.search(r"http://(127\.0\.0\.1:\d+)/", self._log.read_text())
        return found[1] if found else None

    def stop(self) -> None:
        """End at once, as a machine that loses its power."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def obscured(program: Path, password: str) -> str:
    """A password as rclone's configuration holds it."""
    done = subprocess.run([str(program), "obscure", password], capture_output=True, check=True)
    return done.stdout.decode().strip()


def of_webdav(server: WebDav) -> dict[str, str]:
    """What makes it the remote `box`."""
    return {
        "RCLONE_CONFIG_BOX_TYPE": "webdav",
        "RCLONE_CONFIG_BOX_URL": f"http://{server.address}",
        "RCLONE_CONFIG_BOX_VENDOR": "other",
        "RCLONE_CONFIG_BOX_USER": "sage",
        "RCLONE_CONFIG_BOX_PASS": obscured(server.program, PASSWORD),
    }
