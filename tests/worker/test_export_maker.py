"""Exports are whole or not there: whatever the process that makes them does, and however long."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.artifacts import exports
from app.domain.export import Export, ExportOrder
from app.errors import AdapterNotExportable, DiskFull, ExportFailed, ExportNotReady
from app.worker.export_maker import MAX_WAITING, ExportMaker
from tests.patience import wait_until

MAKES = """
import json, sys, time
from pathlib import Path
from app.artifacts.exports import key_of, making
from app.domain.export import ExportOrder
from app.domain.stored import from_json
order = from_json(ExportOrder, json.loads(sys.stdin.readline()))
with making(order, key_of(order)) as directory:
    (directory / order.export.value).write_bytes(b"half")
    {then}
    (directory / order.export.value).write_bytes(b"whole " + order.checkpoint.encode())
print("{{}}")
"""


def program(then: str = "pass") -> list[str]:
    """What takes the place of the process, and makes a file of some bytes."""
    return [sys.executable, "-c", MAKES.format(then=then)]


def says(answer: str, code: int = 0) -> list[str]:
    return [sys.executable, "-c", f"import sys; print({answer!r}); sys.exit({code})"]


class Makers:
    """Makers of one root, stopped at the end."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._made: list[ExportMaker] = []

    def __call__(
        self,
        command: list[str],
        *,
        wait_seconds: float = 60.0,
        max_bytes: int = 1 << 30,
    ) -> ExportMaker:
        """A maker whose process is this command."""
        maker = ExportMaker(
            root=self._root,
            environment={},
            max_bytes=max_bytes,
            wait_seconds=wait_seconds,
            command=command,
        )
        self._made.append(maker)
        return maker

    def stop(self) -> None:
        """End what they run."""
        for maker in self._made:
            maker.stop()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Makers]:
    makers = Makers(tmp_path)
    yield makers
    makers.stop()


@pytest.fixture
def order(tmp_path: Path) -> ExportOrder:
    """Of a checkpoint that is there."""
    (tmp_path / "default" / "1-A").mkdir(parents=True)
    return ExportOrder(
        root=tmp_path,
        checkpoint="default/1-A",
        export=Export.ADAPTER_GGUF,
        adapter_sha256="a" * 64,
        base_model="owner/base",
        base_sha256=None,
    )


def left_in(root: Path) -> list[str]:
    return sorted(path.name for path in (root / ".exports").rglob("*") if path.is_file())


def test_export_is_made_once(make: Makers, order: ExportOrder) -> None:
    maker = make(program())
    made = maker.get(order)
    assert b"".join(made.content.read(0, made.content.size_bytes)) == b"whole default/1-A"
    again = make(says("", code=9)).get(order)
    assert again.file == made.file


@pytest.mark.parametrize("then", ["sys.exit(3)", "import os; os.kill(os.getpid(), 9)"])
def test_process_that_ends_before_the_end_leaves_nothing_to_serve(
    then: str, make: Makers, order: ExportOrder
) -> None:
    with pytest.raises(ExportFailed):
        make(program(then)).get(order)
    assert exports.find_made(order, exports.key_of(order)) is None
    made = make(program()).get(order)
    assert made.file.size_bytes == len(b"whole default/1-A")
    assert left_in(order.root) == ["adapter.gguf", "export.json"]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"code": "adapter-not-exportable", "message": "it is DoRA"}, AdapterNotExportable),
        ({"code": "disk-full", "message": "no room"}, DiskFull),
        ({"code": "something-else", "message": "who knows"}, ExportFailed),
    ],
)
def test_what_the_process_says_is_raised(
    answer: dict[str, str], kind: type[Exception], make: Makers, order: ExportOrder
) -> None:
    with pytest.raises(kind, match=answer["message"]):
        make(says(json.dumps(answer))).get(order)


def test_what_says_nothing_that_can_be_read_has_failed(make: Makers, order: ExportOrder) -> None:
    with pytest.raises(ExportFailed):
        make(says("not JSON")).get(order)
    with pytest.raises(ExportFailed):
        make(["/does/not/exist"]).get(order)


def test_what_takes_longer_than_an_answer_goes_on(
    make: Makers, order: ExportOrder, tmp_path: Path
) -> None:
    gate = tmp_path / "go-on"
    waits = f"while not Path({str(gate)!r}).exists(): time.sleep(0.01)"
    maker = make(program(waits), wait_seconds=0.2)
    with pytest.raises(ExportNotReady):
        maker.get(order)
    gate.touch()

    def ready() -> bool:
        try:
            return maker.get(order).file.size_bytes > 0
        except ExportNotReady:
            return False

    wait_until(ready, lambda: "the export is there")


def test_few_requests_wait_at_a_time(make: Makers, order: ExportOrder, tmp_path: Path) -> None:
    gate = tmp_path / "go-on"
    maker = make(program(f"while not Path({str(gate)!r}).exists(): time.sleep(0.01)"))
    got: list[str] = []
    threads = [
        threading.Thread(target=lambda: got.append(maker.get(order).file.sha256))
        for _ in range(MAX_WAITING)
    ]
    for thread in threads:
        thread.start()

    def refused() -> bool:
        try:
            take_place(maker)
        except ExportNotReady:
            return True
        return False

    wait_until(refused, lambda: "all places are taken")
    gate.touch()
    for thread in threads:
        thread.join()
    assert len(got) == MAX_WAITING
    assert len(set(got)) == 1


def take_place(maker: ExportMaker) -> None:
    """Ask for a place and give it back at once. Raises: ExportNotReady: none is free."""
    if not maker._places.acquire(blocking=False):
        raise ExportNotReady("none is free")
    maker._places.release()


def test_stop_ends_the_process(make: Makers, order: ExportOrder) -> None:
    maker = make(program("time.sleep(600)"), wait_seconds=0.2)
    with pytest.raises(ExportNotReady):
        maker.get(order)
    maker.stop()
    with pytest.raises(ExportFailed):
        wait_until(lambda: maker.get(order).file.size_bytes < 0, lambda: "it failed")
    with pytest.raises(ExportFailed, match="stopping"):
        maker.get(order)


def test_least_used_go_first_and_the_newest_never(make: Makers, order: ExportOrder) -> None:
    roomy = make(program())
    orders = [replace(order, checkpoint=f"default/{n}-A") for n in range(3)]
    for one in orders:
        roomy.get(one)
    roomy.get(orders[0])  # used last
    tight = make(program(), max_bytes=1)
    tight.get(replace(order, checkpoint="default/9-A"))
    assert [path.parent.name for path in (order.root / ".exports").glob("*/*/adapter.gguf")] == [
        "9-A"
    ]


def test_what_was_made_of_a_checkpoint_that_is_gone_goes_at_the_next_start(
    make: Makers, order: ExportOrder
) -> None:
    maker = make(program())
    for one in (order, replace(order, checkpoint="default/2-B")):
        maker.get(one)
    make(program())
    assert [path.name for path in (order.root / ".exports").glob("*/*")] == ["1-A"]


def test_half_that_a_kill_left_goes_at_the_next_start(make: Makers, order: ExportOrder) -> None:
    half = order.root / ".exports" / exports.MAKING_DIRECTORY / "x"
    half.mkdir(parents=True)
    (half / "merged-q8_0.gguf").write_bytes(b"half")
    make(program())
    assert left_in(order.root) == []
