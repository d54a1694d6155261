"""How the console looks: on a desk and on a phone, light and dark, full and empty."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.db.engine import Database
from tests.support import RunningDaemon, run_command
from tests.web.conftest import OpenConsole, picture
from tests.web.scenery import live
from tests.web.views import show, views


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_the_page(
    daemon: RunningDaemon, open_console: OpenConsole, db: Database, width: int, dark: bool
) -> None:
    look = f"{width}-{'dark' if dark else 'light'}"
    page = open_console(daemon, dark=dark, width=width)
    for state in ("empty", "lived"):
        if state == "lived":
            live(db, daemon.data_dir / "checkpoints")
        for path, landmark in views(daemon if state == "lived" else None).items():
            show(page, path, landmark)
            name = "cycle" if "/cycles/" in path else path.rpartition("/")[2]
            picture(page, f"{state}-{name}-{look}")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_real_exchanges_fit_the_page(
    daemon: RunningDaemon,
    open_console: OpenConsole,
    data_dir: Path,
    shared_data: Path,
) -> None:
    for name in ("gemma3-12b", "qwen2.5-0.5b"):
        run_command(
            "import",
            str(shared_data / f"exchanges-{name}.json"),
            "--instance",
            f"sprout-{name}",
            "--create",
            environment={"SAGE_DATA_DIR": str(data_dir)},
        )
    for width in (1280, 390):
        for name in ("gemma3-12b", "qwen2.5-0.5b"):
            page = open_console(daemon, width=width, path=f"/console/sprout-{name}/exchanges")
            page.locator("#list summary").nth(1).click()
            picture(page, f"real-{name}-{width}")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
