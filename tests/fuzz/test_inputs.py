"""What comes from outside, by chance: exchanges, bodies, import files, manifests, snapshots, tars.

Whatever it is, it is taken or refused by a name of ours. `make fuzz` (FUZZ_EXAMPLES) tries more.
"""

from __future__ import annotations

import functools
import io
import json
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from app.api.routes.experiences import _read
from app.api.schemas import BatchIn
from app.artifacts import directories
from app.artifacts.archive import build_archive
from app.client.downloads import unpack
from app.client.errors import DownloadCorrupt
from app.client.results import Checkpoint
from app.db.engine import Database
from app.domain.access import OPEN_ACCESS
from app.domain.exchange import Exchange
from app.domain.reproduction import Recorded, read_manifest
from app.errors import CheckpointNotReproducible, InvalidImportFile, SageSleepError
from app.imports.reading import Wanted
from app.services.importing import ImportReport, import_file, look_into_file
from app.services.ingest import Submission, ingest_many
from app.training.snapshots import Snapshot, SnapshotFile
from tests.domain.test_stored import TODAY, read
from tests.publishing import NOW

pytestmark = pytest.mark.timeout(3600)

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "50"))

some = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
fewer = settings(some, max_examples=max(EXAMPLES // 10, 20))
"""Where every input is a durable commit."""

batch: TypeAdapter[list[Any]] = TypeAdapter(BatchIn)

texts = st.text(max_size=60) | st.sampled_from(["I notice. ", "?" * 12, "[error]", "\0", "\ud800"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.sampled_from([2**63, -(2**63) - 1, 10**400, 1e308, "2026-01-18T00:10:43Z", "9999-12-31"])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
)
FIELDS = (
    "instance", "prompt", "response", "session", "session_number", "phase", "occurred_at",
    "source_id", "history", "system_prompt", "tool_calls", "metadata", "salience", "id",
    "timestamp",
)  # fmt: skip
odd_exchanges = st.builds(
    lambda base, changes: {**base, **changes},
    st.fixed_dictionaries({"prompt": texts, "response": texts}),
    st.dictionaries(st.sampled_from(FIELDS), values, max_size=4),
)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Some bytes of a file changed, put in or taken out, or the file cut off."""
    found = bytearray(whole)
    for _ in range(draw(st.integers(1, 6))):
        if not found:
            break
        at = draw(st.integers(0, len(found) - 1) | st.integers(0, min(600, len(found) - 1)))
        match draw(st.sampled_from(("change", "put", "take", "cut"))):
            case "change":
                found[at] = draw(st.integers(0, 255))
            case "put":
                found[at:at] = draw(st.binary(max_size=12))
            case "take":
                del found[at : at + draw(st.integers(1, 40))]
            case _:
                del found[at:]
    return bytes(found)


@st.composite
def mutated(draw: st.DrawFn, whole: Any) -> Any:
    """A JSON value of which some part is another or gone."""
    found = json.loads(json.dumps(whole))
    for _ in range(draw(st.integers(1, 4))):
        at = found
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(at[key], dict | list) and at[key] and draw(st.integers(0, 4)):
                at = at[key]
                continue
            if draw(st.booleans()):
                at[key] = draw(values)
            else:
                del at[key]
            break
    return found


FILES = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"weights" * 20}


@functools.cache
def whole_archive() -> tuple[SimpleNamespace, bytes]:
    """A checkpoint of two files as a client knows it, and its tar."""
    with tempfile.TemporaryDirectory() as directory:
        for name, body in FILES.items():
            (Path(directory) / name).write_bytes(body)
        files = [directories.describe_file(Path(directory) / name) for name in FILES]
        archive = build_archive(Path(directory), "default-1-X", files)
        content = b"".join(archive.read(0, archive.size_bytes))
    return SimpleNamespace(name="default/1-X", files=tuple(files)), content


@functools.cache
def whole_snapshot() -> bytes:
    """A snapshot as a training keeps it."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "snapshot"
        tensors = {"parameter.0": torch.zeros(3, 2), "random.cpu": torch.zeros(9).byte()}
        snapshot = Snapshot(tensors=tensors, facts={"losses": [1.0, 2.0], "best_epoch": 1})
        SnapshotFile(path, key="this", interval_seconds=0).keep(snapshot)
        return path.read_bytes()


@functools.cache
def whole_manifest() -> dict[str, Any]:
    """A manifest as a cycle writes it."""
    found: dict[str, Any] = read(TODAY)["manifest"]
    return found


@some
@given(odd_exchanges | values)
def test_exchange_is_taken_or_refused_with_a_problem(item: Any) -> None:
    found = _read(item, OPEN_ACCESS)
    if not isinstance(found, Exchange):
        assert found["status"] == 422


@some
@given(
    st.lists(odd_exchanges, max_size=3) | st.fixed_dictionaries({"experiences": values}) | values
)
def test_batch_is_a_list_or_refused(body: Any) -> None:
    try:
        batch.validate_python(body)
    except ValidationError as error:
        error.errors(include_input=False, include_url=False)


@fewer
@given(items=st.lists(odd_exchanges, min_size=1, max_size=3))
def test_ingest_stores_or_names_what_is_wrong(db: Database, items: list[dict[str, Any]]) -> None:
    found = [_read(item, OPEN_ACCESS) for item in items]
    read = [item for item in found if isinstance(item, Exchange)]
    results = ingest_many(db, [Submission(exchange=e) for e in read], now=NOW)
    assert len(results) == len(read)
    for result in results:
        assert (result.experience is None) == (result.error is not None)
        assert result.error is None or isinstance(result.error, SageSleepError)


@fewer
@given(
    content=st.binary(max_size=120)
    | damaged(b'{"experiences": [{"id": "x", "prompt": "a", "response": "b", "session": 3}]}')
    | st.lists(odd_exchanges | values, max_size=3).map(lambda items: json.dumps(items).encode())
)
def test_import_file_goes_in_or_is_refused(db: Database, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "experience_buffer.json"
    path.write_bytes(content)
    report = ImportReport()
    try:
        look_into_file(path, Wanted(), report)
    except InvalidImportFile:
        return
    import_file(db, path, Wanted(), report, instance="default", now=NOW)
    assert report.inserted + report.duplicate <= report.found


@functools.cache
def files_people_have() -> list[tuple[str, bytes]]:
    """A file of every format that is imported."""
    files = Path(__file__).parents[1] / "imports" / "files"
    return [(path.suffix, path.read_bytes()) for path in sorted(files.iterdir())]


def _as_value(content: bytes) -> Any:
    """What a file holds, as one JSON value."""
    try:
        return json.loads(content)
    except ValueError:
        return [json.loads(line) for line in content.splitlines()]


@some
@given(
    file=st.deferred(
        lambda: (
            st.sampled_from(files_people_have()).flatmap(
                lambda file: st.tuples(st.just(file[0]), damaged(file[1]))
            )
            | st.sampled_from(files_people_have()).flatmap(
                lambda file: mutated(_as_value(file[1])).map(
                    lambda value: (".json", json.dumps(value).encode())
                )
            )
        )
    )
)
def test_damaged_file_is_read_as_far_as_it_goes_or_refused(
    tmp_path: Path, file: tuple[str, bytes]
) -> None:
    path = tmp_path / f"file{file[0]}"
    path.write_bytes(file[1])
    report = ImportReport()
    try:
        look_into_file(path, Wanted(), report)
    except InvalidImportFile:
        return
    assert report.found == sum(report.by_format.values())


@some
@example({"format": 1, "plan": {"recipe": "twelve"}})
@given(manifest=st.deferred(lambda: mutated(whole_manifest())) | values)
def test_manifest_is_read_or_not_reproducible(manifest: Any) -> None:
    try:
        assert isinstance(read_manifest(manifest), Recorded)
    except CheckpointNotReproducible:
        return


@some
@given(st.deferred(lambda: damaged(whole_snapshot())))
def test_snapshot_is_whole_or_not_there(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "snapshot.safetensors"
    path.write_bytes(content)
    found = SnapshotFile(path, key="this", interval_seconds=0).find()
    assert found is None or isinstance(found, Snapshot)


@some
@given(st.deferred(lambda: damaged(whole_archive()[1])))
def test_archive_is_unpacked_whole_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        try:
            unpack(io.BytesIO(content), Path(directory), cast("Checkpoint", whole_archive()[0]))
        except DownloadCorrupt:
            return
        for name, body in FILES.items():
            assert (Path(directory) / name).read_bytes() == body
