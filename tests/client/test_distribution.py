"""`sage-sleep-client` in an environment of its own, and how its blocking half is written."""

from __future__ import annotations

import subprocess
import traceback
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import httpx
import pytest
from packaging.requirements import Requirement

import app.client
from app.client import DaemonUnavailable, SleepClient
from tests.client import write_sync
from tests.client.distribution import build_wheel, make_environment
from tests.support import free_port

CLIENT = Path(app.client.__file__).parent

SESSION = """
import asyncio
import sys

import app
from sage_sleep_client import AsyncSleepClient, Exchange, SleepClient, Spool, SpoolSender

assert app.NAME == "the project's own"
url = sys.argv[1]

with SleepClient(url) as client, Spool("spool.db") as spool, SpoolSender(client, spool) as sender:
    sender.post(Exchange(prompt="Who are you?", response="I am SAGE; we learn together."))
    assert sender.flush()
    (kept,) = client.iterate_experiences()
    assert next(client.watch_current("default", "adapters")).is_base


async def read_again() -> str:
    async with AsyncSleepClient(url) as client:
        return (await client.get_experience(kept.id)).prompt


print(asyncio.run(read_again()))
heavy = {"torch", "pydantic", "sqlalchemy", "fastapi", "app.client"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def test_wheel_posts_from_a_project_that_has_an_app_of_its_own(
    wheel: Path, url: str, tmp_path: Path
) -> None:
    python = make_environment(tmp_path / "environment", wheel)
    project = tmp_path / "project"
    (project / "app").mkdir(parents=True)
    (project / "app" / "__init__.py").write_text('NAME = "the project\'s own"\n')
    (project / "session.py").write_text(SESSION)
    result = subprocess.run(
        [python, "-W", "error", "session.py", url],
        cwd=project,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, "Who are you?\n"), result.stderr


def test_wheel_holds_the_package_and_asks_for_httpx_alone(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if ".dist-info/" not in name}
        (name,) = (name for name in archive.namelist() if name.endswith("METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    modules = {f"sage_sleep_client/{path.name}" for path in CLIENT.glob("*.py")}
    assert files == {*modules, "sage_sleep_client/py.typed"}
    required = metadata.get_all("Requires-Dist") or []
    assert [Requirement(text).name for text in required] == ["httpx"]
    assert (metadata["Name"], metadata["Requires-Python"]) == ("sage-sleep-client", ">=3.10")


@pytest.mark.parametrize("name", write_sync.FIRST_LINES)
def test_blocking_half_is_what_the_generator_writes(name: str) -> None:
    written = write_sync.path_of(name).read_text()
    assert written == write_sync.write(name), "`make client` writes it anew"


def test_traceback_of_a_refused_connection_can_be_read() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with SleepClient(url, retry_seconds=0) as client, pytest.raises(DaemonUnavailable) as raised:
        client.get_stats()
    frames = traceback.extract_tb(raised.tb)
    ours = [frame.name for frame in frames if Path(frame.filename).parent == CLIENT]
    assert ours == ["get_stats", "get", "send"]
    assert isinstance(raised.value.__cause__, httpx.ConnectError)
    said = str(raised.value)
    assert url in said
    assert "sage-sleep serve" in said
