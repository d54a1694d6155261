"""Asking a process what a cycle would set aside: whatever becomes of it, there is an answer."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.domain.fit import FitAnswer, FitQuestion
from app.domain.reply_parts import Thinking
from app.worker.fit_check import MAX_WAITING, FitCheck
from tests.patience import wait_until

QUESTION = FitQuestion(
    base_model="none",
    system_prompt="",
    max_length=64,
    thinking=Thinking.STRIP,
    train=(),
    held_out=(),
)


def ask(*program: str) -> FitAnswer:
    return FitCheck(environment={}, command=program).ask(QUESTION)


@pytest.mark.parametrize(
    "program",
    [
        ("/no/such/program",),
        (sys.executable, "-c", "raise SystemExit(3)"),
        (sys.executable, "-c", "print('no JSON')"),
        (sys.executable, "-c", "print('{\"set_aside\": 7}')"),
    ],
)
def test_process_that_gives_no_answer_is_an_answer(program: tuple[str, ...]) -> None:
    found = ask(*program)
    assert found.set_aside == ()
    assert found.error is not None
    assert found.error.code == "fit-unknown"


def test_only_a_few_wait_so_that_changes_keep_their_places(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    slow = (
        "import sys, time; from pathlib import Path; sys.stdin.read()\n"
        f"while not Path({str(gate)!r}).exists(): time.sleep(0.01)\n"
        "print('{}')"
    )
    check = FitCheck(environment={}, command=(sys.executable, "-c", slow))
    with ThreadPoolExecutor(3 * MAX_WAITING) as pool:
        asked = [pool.submit(check.ask, QUESTION) for _ in range(3 * MAX_WAITING)]
        wait_until(
            lambda: sum(answer.done() for answer in asked) == 2 * MAX_WAITING, "the rest is refused"
        )
        gate.touch()
        found = [answer.result() for answer in asked]
    assert found.count(FitAnswer()) == MAX_WAITING
    refused = [answer.error for answer in found if answer.error is not None]
    assert len(refused) == 2 * MAX_WAITING
    assert {error.code for error in refused} == {"fit-unknown"}
