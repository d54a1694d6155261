"""Sleeping from a buffer file in one's own process, and when."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

from app.domain.policy import SleepPolicy
from app.errors import BaseModelNotFound, InvalidPolicy, RuntimeUnavailable
from app.older import SleepScheduler, SleepTrainingLoop
from app.runtimes.rclone import find_rclone

KEYS = {
    "sleep_cycle", "num_experiences", "epochs", "final_loss", "avg_salience", "timestamp",
}  # fmt: skip
SUMMARY_KEYS = {
    "total_cycles", "total_experiences", "latest_loss", "latest_cycle", "training_history",
    "checkpoint_dir",
}  # fmt: skip


def has_rclone() -> bool:
    """Whether there is one."""
    try:
        find_rclone()
    except RuntimeUnavailable:
        return False
    return True


@pytest.fixture
def loop(tiny_model: Path, buffer_path: Path, tmp_path: Path) -> SleepTrainingLoop:
    return SleepTrainingLoop(tiny_model, buffer_path, tmp_path / "checkpoints", device="cpu")


def test_a_sleep_leaves_a_plain_adapter_and_its_numbers(
    loop: SleepTrainingLoop, tiny_model: Path, tmp_path: Path
) -> None:
    result = loop.run_sleep_cycle(min_salience=0.5, epochs=1, learning_rate=1e-2)
    assert set(result) >= KEYS
    assert (result["sleep_cycle"], result["epochs"]) == (1, 1)
    assert result["num_experiences"] > 0
    assert 0 < result["final_loss"] < 20
    assert 0.5 <= result["avg_salience"] <= 1
    directory = tmp_path / "checkpoints" / "cycle_001"
    stored = json.loads((directory / "sleep_cycle.json").read_text("utf-8"))
    assert stored["final_loss"] == result["final_loss"]
    base = AutoModelForCausalLM.from_pretrained(str(tiny_model))
    adapted = PeftModel.from_pretrained(base, str(directory))
    weights = [weight for name, weight in adapted.named_parameters() if "lora_B" in name]
    assert any(float(weight.detach().abs().max()) > 0 for weight in weights)


def test_sleeps_go_on_from_one_another_by_number(
    loop: SleepTrainingLoop, tiny_model: Path, buffer_path: Path, tmp_path: Path
) -> None:
    first = loop.run_sleep_cycle(0.5, epochs=2, learning_rate=1e-2)
    directory = tmp_path / "checkpoints"
    (directory / "cycle_001").rename(directory / "cycle_999")
    again = SleepTrainingLoop(tiny_model, buffer_path, directory)
    assert again.sleep_cycle_count == 999
    second = again.run_sleep_cycle(0.5, epochs=2, learning_rate=1e-2)
    assert second["sleep_cycle"] == 1000
    assert second["final_loss"] < first["final_loss"]
    third = SleepTrainingLoop(tiny_model, buffer_path, directory)
    assert (third.sleep_cycle_count, third.get_training_summary()["latest_cycle"]) == (1000, 1000)


def test_summary_counts_what_was_slept(loop: SleepTrainingLoop, tmp_path: Path) -> None:
    nothing = loop.get_training_summary()
    assert nothing["status"]
    assert set(nothing) >= SUMMARY_KEYS
    assert nothing["total_cycles"] == 0
    results = [loop.run_sleep_cycle(0.5, max_experiences=2, epochs=1) for _ in range(2)]
    summary = loop.get_training_summary()
    assert "status" not in summary
    assert set(summary) == SUMMARY_KEYS
    assert (summary["total_cycles"], summary["total_experiences"]) == (2, 4)
    assert (summary["latest_loss"], summary["latest_cycle"]) == (results[1]["final_loss"], 2)
    assert summary["checkpoint_dir"] == str(tmp_path / "checkpoints")


def test_nothing_salient_trains_nothing(loop: SleepTrainingLoop, tmp_path: Path) -> None:
    result = loop.run_sleep_cycle(min_salience=1.0)
    assert set(result) >= KEYS
    assert (result["num_experiences"], result["sleep_cycle"]) == (0, 0)
    assert math.isnan(result["final_loss"])
    assert result["status"]
    assert not list((tmp_path / "checkpoints").glob("cycle_*"))


def test_sleep_without_a_checkpoint_writes_none(loop: SleepTrainingLoop, tmp_path: Path) -> None:
    result = loop.run_sleep_cycle(0.5, max_experiences=1, epochs=1, save_checkpoint=False)
    assert (result["sleep_cycle"], result["checkpoint_path"]) == (1, None)
    assert list((tmp_path / "checkpoints").iterdir()) == []
    assert loop.get_training_summary()["total_cycles"] == 1


def test_what_cannot_be_is_said(buffer_path: Path, tmp_path: Path) -> None:
    with pytest.raises(BaseModelNotFound):
        SleepTrainingLoop(tmp_path / "none", buffer_path).run_sleep_cycle()


def test_scheduler_checks_runs_and_forces(loop: SleepTrainingLoop) -> None:
    patient = SleepScheduler(loop, min_salience=0.5)
    checked = patient.check()
    assert not checked["due"]
    assert any(reason.startswith("mass") for reason in checked["reasons"])
    assert patient.run(epochs=1) is None
    policy = SleepPolicy(mass_threshold=1.0, min_experiences=1, min_interval_seconds=0.0)
    eager = SleepScheduler(loop, policy, min_salience=0.5)
    assert eager.check()["due"]
    slept = eager.run(epochs=1)
    assert slept is not None
    assert slept["num_experiences"] == checked["count"]
    # All of it is trained: nothing new, nothing due; by force it sleeps all the same.
    assert (eager.check()["due"], eager.check()["count"]) == (False, 0)
    assert eager.force(epochs=1)["sleep_cycle"] == 2


@pytest.mark.skipif(not has_rclone(), reason="a real rclone is the point")
def test_dropbox_sync_copies_every_sleep_to_the_mirror_and_catches_up(
    tiny_model: Path, buffer_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGE_MIRROR", f"box:{tmp_path}/mirror")
    place = tmp_path / "checkpoints"
    loop = SleepTrainingLoop(tiny_model, buffer_path, place, dropbox_sync=True, device="cpu")
    assert loop.run_sleep_cycle(0.5, max_experiences=1, epochs=1)["synced"] is False  # no such box
    monkeypatch.setenv("RCLONE_CONFIG_BOX_TYPE", "local")
    assert loop.run_sleep_cycle(0.5, max_experiences=1, epochs=1)["synced"] is True
    (mirrored,) = (tmp_path / "mirror").iterdir()
    for name in ("cycle_001", "cycle_002"):
        assert {path.name: path.read_bytes() for path in (mirrored / name).iterdir()} == {
            path.name: path.read_bytes() for path in (place / name).iterdir()
        }


def test_dropbox_sync_without_a_mirror_warns_and_one_with_secrets_is_refused(
    tiny_model: Path, buffer_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SAGE_MIRROR", raising=False)
    with pytest.warns(UserWarning, match="SAGE_MIRROR"):
        SleepTrainingLoop(tiny_model, buffer_path, tmp_path, dropbox_sync=True)
    monkeypatch.setenv("SAGE_MIRROR", ":dropbox,token=hidden:sage")
    with pytest.raises(InvalidPolicy, match="name:path") as refused:
        SleepTrainingLoop(tiny_model, buffer_path, tmp_path, dropbox_sync=True)
    assert "hidden" not in str(refused.value)
