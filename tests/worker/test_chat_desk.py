"""What is talked to is loaded while it is needed, and gives its memory back to a cycle."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.artifacts.exports import MadeExport
from app.db.engine import Database
from app.domain.chat import read_model_name
from app.domain.export import ExportOrder
from app.services.file_guard import FileGuard
from app.worker.chat_desk import ChatDesk
from app.worker.chat_servers import ChatServers
from app.worker.memory import is_memory_short
from tests.patience import wait_until
from tests.support import changed


def test_cycle_that_is_short_of_memory_gets_what_nobody_waits_for(
    db: Database, embedded_model: Path, tmp_path: Path
) -> None:
    own = Database(str(db.url), changed(db.defaults, base_model=str(embedded_model)))
    servers = ChatServers(context_tokens=256)
    state = {"training": False, "short": True}

    def get_export(order: ExportOrder) -> MadeExport:
        raise AssertionError(f"{order.export} is not needed")

    desk = ChatDesk(
        own,
        root=tmp_path,
        guard=FileGuard(own, root=tmp_path),
        get_export=get_export,
        servers=servers,
        is_training=lambda: state["training"],
        is_memory_short=lambda: state["short"],
        idle_seconds=600,
    )
    desk.start()
    try:
        name = read_model_name("default")
        answering = desk.take(name)
        state["training"] = True
        answering.release()
        wait_until(lambda: servers.is_empty, lambda: "what owes nothing is unloaded")
        owed = desk.take(name)  # who asks is answered all the same
        state["short"] = False
        owed.release()
        assert not servers.is_empty
    finally:
        desk.stop()
        own.close()


@pytest.mark.parametrize(
    ("text", "is_short"),
    [
        ("MemTotal: 1000 kB\nMemFree: 5 kB\nMemAvailable: 99 kB\n", True),
        ("MemTotal: 1000 kB\nMemFree: 5 kB\nMemAvailable: 100 kB\n", False),
        ("MemTotal: 1000 kB\n", False),
        ("", False),
    ],
)
def test_memory_is_short_below_a_tenth(tmp_path: Path, text: str, is_short: bool) -> None:
    file = tmp_path / "meminfo"
    file.write_text(text.replace(": ", ":        "))
    assert is_memory_short(file) is is_short
    assert not is_memory_short(tmp_path / "absent")
