"""Record the answers that the OpenAPI document shows: `python -m tests.record_examples`.

A real daemon, two real cycles of the embedded model over the demo's session, and every operation
asked once, with the document's own examples of bodies. What is long is cut short, and paths are
made those of a plain installation; nothing else is changed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import Any

import httpx

from app.training.fetching import fetch_embedded_model
from tests.support import RunningDaemon, free_port, run_command, wait_until_up

TARGET = Path(str(resources.files("app.api") / "examples.json"))
SHOWN_MODELS = "/var/lib/sage-sleep/models"
SHOWN_DIRECTORY = "/srv"
MAX_TEXT, MAX_ITEMS, MAX_NUMBERS, MAX_LINES = 240, 2, 10, 12
STREAM = "text/event-stream"


class Recorder:
    """Asks a daemon, and keeps what it answers under the operation's name and the status."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        self.document: dict[str, Any] = http.get("/openapi.json").json()
        self.kept: dict[str, dict[str, Any]] = {}

    def ask(
        self,
        operation: str,
        /,
        *,
        body: Any = None,
        params: Any = None,
        **ids: str,
    ) -> Any:
        """Ask and keep; the answer."""
        method, _, path = operation.partition(" ")
        answer = self.http.request(method, path.format(**ids), json=body, params=params)
        answer.raise_for_status()
        if not answer.content:
            return None
        is_json = answer.headers["content-type"] == "application/json"
        value = answer.json() if is_json else "\n".join(answer.text.splitlines()[:MAX_LINES])
        media_type = answer.headers["content-type"].partition(";")[0]
        self.kept.setdefault(f"{operation} {answer.status_code}", {})[media_type] = shorten(value)
        return value

    def ask_stream(self, name: str, /, **ids: str) -> None:
        """Keep the beginning of a stream."""
        path = name.partition(" ")[2].format(**ids)
        headers = {"Accept": STREAM, "Last-Event-ID": "0"}
        lines = list[str]()
        with self.http.stream("GET", path, headers=headers) as answer:
            for line in answer.iter_lines():
                lines.append(line)
                if len(lines) >= MAX_LINES and not line:
                    break
        self.kept[f"{name} 200"][STREAM] = "\n".join(lines) + "\n"

    def ask_chat_stream(self) -> None:
        """Keep the first pieces and the last of a reply, as the document's own example asks."""
        name = "POST /v1/chat/completions"
        body = {**self.example(name), "record": False, "stream": True}
        with self.http.stream("POST", "/v1/chat/completions", json=body) as answer:
            lines = [line for line in answer.iter_lines() if line]
        shown = [*lines[:2], *lines[-2:]]
        self.kept[f"{name} 200"][STREAM] = "\n\n".join(shown) + "\n\n"

    def example(self, name: str) -> Any:
        """The document's own example of a body."""
        method, _, path = name.partition(" ")
        return body_example(self.document, self.document["paths"][path][method.lower()])

    def ask_with_example(self, name: str, /, **ids: str) -> Any:
        """Ask with the document's own example, and keep."""
        return self.ask(name, body=self.example(name), **ids)

    def wait_for(self, cycle_id: str) -> dict[str, Any]:
        """Wait for a cycle's end."""
        while True:
            cycle: dict[str, Any] = self.http.get(f"/v1/sleep-cycles/{cycle_id}").json()
            if cycle["finished_at"]:
                return cycle
            time.sleep(1)


def body_example(document: dict[str, Any], operation: dict[str, Any]) -> Any:
    """The example of an operation's body: beside its schema, or in it."""
    media = operation["requestBody"]["content"]["application/json"]
    if "examples" in media:
        return next(iter(media["examples"].values()))["value"]
    schema = media["schema"]
    reference = schema.get("$ref") or next(
        part["$ref"] for part in schema["anyOf"] if "$ref" in part
    )
    return document["components"]["schemas"][reference.rpartition("/")[2]]["examples"][0]


def shorten(value: Any) -> Any:
    """Long lists and texts cut; shapes as they are."""
    if isinstance(value, dict):
        return {name: shorten(item) for name, item in value.items()}
    if isinstance(value, list):
        limit = MAX_NUMBERS if all(isinstance(item, int | float) for item in value) else MAX_ITEMS
        return [shorten(item) for item in value[:limit]]
    if isinstance(value, str) and len(value) > MAX_TEXT and "\n" not in value[:100]:
        return value[: MAX_TEXT - 1] + "…"
    return value


def sleep(recorder: Recorder, **fields: Any) -> str:
    """Let the instance sleep; its checkpoint."""
    cycle = recorder.wait_for(recorder.ask("POST /v1/sleep-cycles", body=fields)["id"])
    if cycle["status"] != "succeeded":
        raise SystemExit(f"The cycle ended as {cycle['status']}: {cycle['error']}")
    checkpoint_id: str = cycle["checkpoint_id"]
    return checkpoint_id


def record(http: httpx.Client, mirror: Path) -> dict[str, dict[str, Any]]:
    """Ask for everything."""
    recorder = Recorder(http)
    session = json.loads((resources.files("app") / "demo_session.json").read_text())
    turns = [
        {"prompt": prompt, "response": response, "session": f"s-{number // 8 + 1}"}
        for number, (prompt, response) in enumerate(session)
    ]
    record_before_sleep(recorder, turns[:24])
    checkpoint_id = sleep(recorder, **recorder.example("POST /v1/sleep-cycles"))
    experience_id = record_after_sleep(recorder, checkpoint_id)
    record_overviews(recorder)
    record_webhooks(recorder)
    record_mirror(recorder, mirror)
    http.put("/v1/instances/default", json={"policy": {"promotion": "manual"}}).raise_for_status()
    http.post("/v1/experiences/batch", json=turns[24:]).raise_for_status()
    sleep(recorder, force=True)
    recorder.ask_with_example("POST /v1/instances/{slug}/dismiss", slug="default")
    recorder.ask("DELETE /v1/experiences/{experience_id}", experience_id=experience_id)
    return recorder.kept


def record_before_sleep(recorder: Recorder, turns: list[dict[str, Any]]) -> None:
    """Health, posting, the decision and a dry run; what can be sent again is."""
    for name in ("GET /healthz", "GET /readyz"):
        recorder.ask(name)
    for _ in range(2):
        recorder.ask_with_example("PUT /v1/instances/{slug}", slug="sprout-qwen2.5-0.5b")
        recorder.ask_with_example("POST /v1/experiences")
    recorder.ask_with_example("PATCH /v1/instances/{slug}", slug="sprout-qwen2.5-0.5b")
    recorder.ask_with_example("POST /v1/experiences/batch")
    recorder.http.post("/v1/experiences/batch", json=turns).raise_for_status()
    recorder.ask("GET /v1/instances/{slug}/sleep-decision", slug="default")
    recorder.ask("POST /v1/sleep-cycles", body={"dry_run": True})


def record_after_sleep(recorder: Recorder, checkpoint_id: str) -> str:
    """A cycle, its checkpoint, and all that is done with it; an experience it was trained on."""
    ids = {"checkpoint_id": checkpoint_id, "slug": "default"}
    found = recorder.ask("GET /v1/checkpoints/{checkpoint_id}", **ids)
    ids |= {"cycle_id": found["sleep_cycle_id"]}
    ids |= {"experience_id": found["experiences"][0]["experience_id"]}
    for name in (
        "GET /v1/sleep-cycles/{cycle_id}",
        "GET /v1/sleep-cycles/{cycle_id}/report",
        "GET /v1/sleep-cycles/{cycle_id}/events",
        "GET /v1/experiences/{experience_id}",
        "GET /v1/checkpoints/{checkpoint_id}/experiences",
    ):
        recorder.ask(name, **ids)
    recorder.ask_stream("GET /v1/sleep-cycles/{cycle_id}/events", **ids)
    file = "GET /v1/checkpoints/{checkpoint_id}/files/{name}"
    recorder.ask(file, **ids, name="adapter_config.json")
    for _ in range(2):
        recorder.ask_with_example("POST /v1/checkpoints/{checkpoint_id}/reports", **ids)
    recorder.ask("GET /v1/checkpoints/{checkpoint_id}/reports", **ids)
    recorder.ask_with_example("POST /v1/instances/{slug}/rollback", **ids)
    queued = recorder.ask_with_example("POST /v1/instances/{slug}/rebuild", **ids)["id"]
    recorder.ask_with_example("POST /v1/instances/{slug}/wake", **ids)
    recorder.ask("POST /v1/sleep-cycles/{cycle_id}/cancel", cycle_id=queued)
    recorder.wait_for(queued)
    recorder.ask_with_example("POST /v1/checkpoints/{checkpoint_id}/promote", **ids)
    recorder.ask_with_example("PATCH /v1/checkpoints/{checkpoint_id}", **ids)
    return ids["experience_id"]


def record_webhooks(recorder: Recorder) -> None:
    """A webhook whose address the daemon has no leave to go to, so nothing leaves it."""
    body = {**recorder.example("POST /v1/webhooks"), "url": "http://127.0.0.1:9/hooks/sage"}
    made = recorder.ask("POST /v1/webhooks", body=body)
    ids = {"webhook_id": made["id"]}
    hook = "/v1/webhooks/{webhook_id}"
    recorder.ask("GET /v1/webhooks")
    recorder.ask(f"GET {hook}", **ids)
    recorder.ask_with_example(f"PATCH {hook}", **ids)
    recorder.ask(f"POST {hook}/rotate", **ids)
    ids["delivery_id"] = recorder.ask(f"POST {hook}/test", **ids)["id"]
    recorder.ask(f"POST {hook}/deliveries/{{delivery_id}}/retry", **ids)
    recorder.ask(f"GET {hook}/deliveries", **ids)
    recorder.ask(f"DELETE {hook}", **ids)


def record_mirror(recorder: Recorder, mirror: Path) -> None:
    """What lies in the mirror, one checkpoint of it made to look like another machine's."""
    route = "/v1/instances/{slug}/mirror"
    while recorder.http.get("/v1/instances/default/mirror").json()["waiting"]:
        time.sleep(0.5)
    (own,) = mirror.glob("default/*")
    name = recorder.example(f"POST {route}/pull")["checkpoint"]
    instance, _, last = name.partition("/")
    number, _, checkpoint_id = last.partition("-")
    shutil.copytree(own, mirror / name)
    manifest = json.loads((own / "manifest.json").read_text())
    manifest |= {"id": checkpoint_id, "name": name, "instance": instance}
    manifest["cycle"]["number"] = int(number)
    (mirror / name / "manifest.json").write_text(json.dumps(manifest))
    recorder.ask(f"GET {route}", slug="default")
    asked = recorder.ask_with_example(f"POST {route}/pull", slug="default")
    recorder.http.post(f"/v1/sleep-cycles/{asked['id']}/cancel").raise_for_status()
    recorder.wait_for(asked["id"])


def record_overviews(recorder: Recorder) -> None:
    """Lists and figures."""
    instance = "GET /v1/instances/{slug}"
    for part in (
        "", "/aliases", "/aliases/history", "/events", "/cycle-figures", "/experience-summary",
        "/salience-distribution",
    ):  # fmt: skip
        recorder.ask(instance + part, slug="default")
    recorder.ask_stream(f"{instance}/events", slug="default")
    recorder.ask("GET /v1/sleep-cycles", params={"status": "succeeded"})
    recorder.ask_with_example("POST /v1/chat/completions")
    recorder.ask_chat_stream()
    recorder.ask("GET /v1/models")
    recorder.ask("GET /v1/models/{model}", model="default")
    for name in ("experiences", "checkpoints", "instances"):
        recorder.ask(f"GET /v1/{name}")
    for name in ("GET /stats", "GET /metrics"):
        recorder.ask(name)


def main() -> None:
    """Start a daemon of its own, record, write."""
    cache = Path(os.environ.get("SAGE_TEST_CACHE", Path.home() / ".cache" / "sage-sleep-tests"))
    model = fetch_embedded_model(cache)
    with tempfile.TemporaryDirectory() as name:
        directory, port = Path(name), free_port()
        environment = {
            "SAGE_DATA_DIR": name,
            "SAGE_PORT": str(port),
            "SAGE_BASE_MODEL": str(model),
            "SAGE_SCHEDULER_INTERVAL_SECONDS": "3600",
            "SAGE_CHILD_NICENESS": "0",
            "SAGE_MIRROR": f"box:{directory}/mirror",
            "SAGE_PUSH_TO_MIRROR": "true",
            "RCLONE_CONFIG_BOX_TYPE": "local",
        }
        run_command("migrate", environment=environment)
        log_path = directory / "daemon.log"
        with (
            log_path.open("wb") as log,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http,
        ):
            process = subprocess.Popen(
                [sys.executable, "-m", "app", "serve"],
                env={**os.environ, **environment},
                stdout=log,
                stderr=log,
            )
            wait_until_up(RunningDaemon(process, http, directory, log_path))
            try:
                kept = record(http, directory / "mirror")
            finally:
                process.terminate()
                process.wait()
        text = json.dumps(kept, indent=1, ensure_ascii=False)
    text = text.replace(str(directory), SHOWN_DIRECTORY)
    TARGET.write_text(text.replace(str(model.parent), SHOWN_MODELS) + "\n")


if __name__ == "__main__":
    main()
