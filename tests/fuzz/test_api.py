"""Requests that the OpenAPI document allows or forbids; `make fuzz-api` makes more of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz.api import ask_everything, stocked_daemon

pytestmark = pytest.mark.timeout(600)


def test_no_answer_is_undocumented_or_the_daemons_own_fault(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    found = ask_everything(tmp_path, max_examples=1, seed=seed, phases="examples,coverage")
    assert found.exit_code == 0, f"seed {seed}\n{found.output}"
    assert found.cases > 500


def test_wrong_method_is_told_all_that_can_be_asked_of_an_address(tmp_path: Path) -> None:
    with stocked_daemon(tmp_path) as (daemon, token):
        headers = {"Authorization": f"Bearer {token}"}
        answer = daemon.http.put("/v1/checkpoints/01J00000000000000000000000", headers=headers)
        assert answer.status_code == 405
        assert answer.headers["allow"] == "DELETE, GET, PATCH"
