"""An adapter in a vLLM that speaks its documented routes: new names, real files, old ones gone."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from app.errors import RuntimeRefuses, RuntimeUnavailable
from app.runtimes.vllm import Vllm, make_live

BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"


class FakeVllm:
    """What it serves: adapters by name, with the directory that each was read from."""

    def __init__(self, *, may_update: bool) -> None:
        self.may_update = may_update
        self.url = ""
        self.adapters: dict[str, Path] = {}
        self.configs: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    vllm: FakeVllm

    def do_GET(self) -> None:
        models = [{"id": BASE, "root": BASE, "parent": None}]
        models += [{"id": name, "root": "x", "parent": BASE} for name in self.vllm.adapters]
        self._answer(200, {"object": "list", "data": models})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name, verb = body["lora_name"], self.path.split("/")[-1].split("_")[0]
        self.vllm.calls.append(f"{verb} {name}")
        if not self.vllm.may_update:
            self._answer(404, {"detail": "Not Found"})
        elif verb == "load" and name in self.vllm.adapters:
            self._answer(400, {"error": {"message": f"{name} has already been loaded."}})
        elif verb == "load":
            path = Path(body["lora_path"])
            config = json.loads((path / "adapter_config.json").read_text())
            self.vllm.configs[name] = config
            self.vllm.adapters[name] = path
            self._answer(200, {})
        elif self.vllm.adapters.pop(name, None):
            self._answer(200, {})
        else:
            self._answer(404, {"object": "error", "message": f"{name} cannot be found."})

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def fake_vllm(*, may_update: bool = True) -> Iterator[FakeVllm]:
    fake = FakeVllm(may_update=may_update)
    handler = type("Handler", (_Handler,), {"vllm": fake})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        fake.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield fake
        server.shutdown()


def adapter(directory: Path, weights: str = "weights") -> list[Path]:
    directory.mkdir(exist_ok=True)
    config, tensors = directory / "adapter_config.json", directory / "adapter_model.safetensors"
    config.write_text(json.dumps({"r": 16, "base_model_name_or_path": "SmolLM2"}))
    tensors.write_text(weights)
    return [config, tensors]


def test_adapter_is_served_under_its_own_name_from_real_files(tmp_path: Path) -> None:
    files, directory = adapter(tmp_path / "checkpoint"), tmp_path / "vllm"
    with fake_vllm() as fake, Vllm(fake.url) as vllm:
        assert make_live(vllm, "sprout", 3, files, directory=directory) == ("sprout@3", True)
        assert make_live(vllm, "sprout", 3, files, directory=directory) == ("sprout@3", False)
        assert fake.calls == ["load sprout@3"]
        placed = fake.adapters["sprout@3"]
        assert placed == directory / "sprout@3"
        assert {file.name: file.is_symlink() for file in placed.iterdir()} == {
            "adapter_config.json": False,
            "adapter_model.safetensors": False,
        }
        assert fake.configs["sprout@3"] == {"r": 16, "base_model_name_or_path": BASE}
        assert [path.name for path in directory.iterdir()] == ["sprout@3"]
        fake.adapters.clear()  # it was started again
        assert make_live(vllm, "sprout", 3, files, directory=directory) == ("sprout@3", True)


def test_one_before_stays_and_older_ones_go_and_nobody_elses(tmp_path: Path) -> None:
    directory = tmp_path / "vllm"
    with fake_vllm() as fake, Vllm(fake.url) as vllm:
        fake.adapters |= {"sprout2@1": tmp_path, "mine": tmp_path}
        for number in (9, 10, 11):
            files = adapter(tmp_path / "checkpoint", f"weights {number}")
            make_live(vllm, "sprout", number, files, directory=directory)
        assert set(fake.adapters) == {"sprout2@1", "mine", "sprout@10", "sprout@11"}
        assert {path.name for path in directory.iterdir()} == {"sprout@10", "sprout@11"}


def test_what_an_earlier_vllm_had_goes_from_the_directory(tmp_path: Path) -> None:
    directory = tmp_path / "vllm"
    with fake_vllm() as fake, Vllm(fake.url) as vllm:
        for number in (1, 2, 3):
            files = adapter(tmp_path / "checkpoint", f"weights {number}")
            make_live(vllm, "sprout", number, files, directory=directory)
            fake.adapters.clear()  # it was started again
        assert {path.name for path in directory.iterdir()} == {"sprout@2", "sprout@3"}


def test_other_weights_under_an_old_name_are_not_served_from_it(tmp_path: Path) -> None:
    directory = tmp_path / "vllm"
    with fake_vllm() as fake, Vllm(fake.url) as vllm:
        make_live(vllm, "sprout", 1, adapter(tmp_path / "one"), directory=directory)
        other = adapter(tmp_path / "other", "of another data directory")
        assert make_live(vllm, "sprout", 1, other, directory=directory) == ("sprout@1", True)
        assert fake.calls == ["load sprout@1", "unload sprout@1", "load sprout@1"]
        placed = directory / "sprout@1" / "adapter_model.safetensors"
        assert placed.read_text() == "of another data directory"


def test_missing_route_is_named_with_its_variable(tmp_path: Path) -> None:
    files = adapter(tmp_path / "checkpoint")
    with (
        fake_vllm(may_update=False) as fake,
        Vllm(fake.url) as vllm,
        pytest.raises(RuntimeRefuses, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING"),
    ):
        make_live(vllm, "sprout", 1, files, directory=tmp_path / "vllm")


def test_what_vllm_refuses_is_said_in_its_words() -> None:
    with (
        fake_vllm() as fake,
        Vllm(fake.url) as vllm,
        pytest.raises(RuntimeRefuses, match="cannot be found"),
    ):
        vllm.unload("nothing")


def test_vllm_that_is_not_there_is_named() -> None:
    with (
        Vllm("http://127.0.0.1:9") as nobody,
        pytest.raises(RuntimeUnavailable, match="SAGE_VLLM_URL"),
    ):
        nobody.look()
