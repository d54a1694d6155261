"""What the README shows is run: its curl tour against a daemon, its names against the code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from app.settings import Settings
from tests.support import StartDaemon

REPOSITORY = Path(__file__).parent.parent
README = (REPOSITORY / "README.md").read_text()
PAGES = {page.stem: page.read_text() for page in (REPOSITORY / "app/web/guide").glob("*.md")}
EVERYTHING = "\n".join([README, *PAGES.values()])


def test_curl_tour_works_word_by_word(start_daemon: StartDaemon, tmp_path: Path) -> None:
    daemon = start_daemon(base_model=tmp_path / "none", scheduler_interval_seconds=3600)
    tour = README.partition("## Five minutes with curl")[2].partition("\n## ")[0]
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


def test_snippets_for_a_session_runtime_run_word_by_word(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    daemon = start_daemon(base_model=tmp_path / "none", scheduler_interval_seconds=3600)
    snippets = re.findall(r"```python\n(.*?)```", PAGES["attach"], re.DOTALL)
    assert len(snippets) == 4
    outputs = []
    for snippet in snippets:
        moved = snippet.replace(":8760", f":{daemon.http.base_url.port}")
        result = subprocess.run(
            [sys.executable, "-W", "error", "-c", moved],
            capture_output=True,
            check=False,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "HOME": str(tmp_path)},
        )
        assert result.returncode == 0, result.stderr
        outputs.append(result.stdout)
    kept = daemon.http.get("/v1/experiences").json()["data"]
    assert [item["instance"] for item in kept] == ["sprout-qwen2.5-0.5b", "default"]
    assert outputs[1] == "run the bare base model\n"
    assert re.fullmatch(r"0\.\d+ of 20\.0\n", outputs[2])
    assert re.fullmatch(r"0\.\d\d (True|False) None\n[01] insufficient_data\n", outputs[3])


def test_every_setting_it_names_exists() -> None:
    named = {name.lower() for name in re.findall(r"`SAGE_([A-Z_]+)`", EVERYTHING)}
    fields = set(Settings.model_fields)
    assert named - fields <= {"ca_file", "config_file", "test_cache", "shared_data", "token"}


def test_every_path_it_names_exists() -> None:
    named = re.findall(r"`(?:app|docker|tests)/[\w./]+`", EVERYTHING)
    assert named
    for name in named:
        assert (REPOSITORY / name.strip("`")).exists(), name
