"""llama.cpp's own server over one model with one adapter or none, in a process of its own.

`python -m app.serving.engine` reads its order as one line of JSON on standard input, writes where
it listens, or what keeps it from that, as one line on standard output, and lives until its input
closes, that is, until the daemon is gone. It listens on loopback at a port that the system chooses,
and answers only to the order's key. Imports nothing of the project, so that it is up at once.

llama.cpp writes prompts to its log, so there is none.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

NOT_INSTALLED = "not-installed"
NOT_LOADED = "not-loaded"


def start(order: Mapping[str, Any]) -> Any:
    """Load the model and serve it; the server listens for as long as it is held.

    Args:
        order: `model` and `adapter` (a file each; the latter may be None), `key`, `threads`,
            `slots` (replies at once) and `context_tokens` (of each of them).
    """
    import xllamacpp  # noqa: PLC0415  # an extra

    params = xllamacpp.CommonParams()
    params.model.path = order["model"]
    if order["adapter"] is not None:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(order["adapter"], 1.0)]
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.api_keys = [order["key"]]
    params.model_alias = {"chat"}  # else anyone on this machine may read where the file lies
    params.ui = params.endpoint_slots = False
    params.verbosity = -1
    # Each conversation has a context of its own: in a shared one, two that need most of it are
    # both broken off where it is full.
    params.n_ctx, params.n_parallel = order["slots"] * order["context_tokens"], order["slots"]
    params.kv_unified = False
    params.cache_ram_mib = 0  # else up to 8 GiB of earlier prompts
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = order["threads"]
    params.warmup = False
    # Reasoning stays in the text, as exchanges are kept.
    params.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
    return xllamacpp.Server(params)


def main() -> None:
    """Be the process."""
    order = json.loads(sys.stdin.readline())
    try:
        server = start(order)
        said = {"url": server.listening_address}
    except ImportError:
        said = {"fault": NOT_INSTALLED}
    except Exception as error:  # noqa: BLE001  # whatever it is, the daemon must be told
        said = {"fault": NOT_LOADED, "words": str(error)[:300]}
    print(json.dumps(said), flush=True)  # noqa: T201  # this is the answer
    while "url" in said and os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(0)  # not through llama.cpp's own end, which waits for its threads


if __name__ == "__main__":
    main()
