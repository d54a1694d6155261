"""What the README shows is run: its curl tour against a daemon, its names against the code."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from app.settings import Settings
from tests.support import StartDaemon

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_curl_tour_works_word_by_word(start_daemon: StartDaemon, tmp_path: Path) -> None:
    daemon = start_daemon(base_model=tmp_path / "none", scheduler_interval_seconds=3600)
    tour = README.partition("## Five minutes with curl")[2].partition("A cycle's events")[0]
    script = re.search(r"```sh\n(.*?)```", tour, re.DOTALL)
    assert script is not None
    commands = re.split(r"\n(?=#|curl)", script[1])
    curls = [command for command in commands if command.startswith("curl")]
    assert len(curls) == 8
    for curl in curls:
        moved = curl.replace(":8760", f":{daemon.http.base_url.port}")
        result = subprocess.run(["bash", "-c", moved], capture_output=True, check=True, text=True)
        answer = json.loads(result.stdout)
        assert "status" not in answer or not isinstance(answer["status"], int), answer


def test_every_setting_it_names_exists() -> None:
    named = {name.lower() for name in re.findall(r"`SAGE_([A-Z_]+)`", README)}
    fields = set(Settings.model_fields)
    assert named - fields <= {"config_file", "test_cache", "shared_data"}


def test_every_path_it_names_exists() -> None:
    named = re.findall(r"`(?:app|docker|tests)/[\w./]+`", README)
    assert named
    for name in named:
        assert (Path(__file__).parent.parent / name.strip("`")).exists(), name
