"""`sage-sleep push`: what is live, into the runtime that sessions talk to."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Annotated

import typer

from app.cli.asking import CaFile, Token, Url, daemon, print_answer
from app.cli.terminal import Instance, Json, err, out
from app.client import Push, SleepClient, SleepClientError
from app.client.downloads import is_being_made

app = typer.Typer()

LOOK_AGAIN_SECONDS = 3.0


class Runtime(StrEnum):
    """What a checkpoint can be brought into."""

    OLLAMA = "ollama"
    VLLM = "vllm"


@app.command()
def push(
    runtime: Annotated[
        Runtime, typer.Argument(help="Beside the daemon: SAGE_OLLAMA_URL, SAGE_VLLM_URL.")
    ],
    instance: Instance = "default",
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Bring what is live into Ollama, as `<instance>:latest`, or vLLM, as `<instance>@<cycle>`."""
    with daemon(url, token, ca_file) as client:
        pushed = _until_made(client, instance, runtime)
    if as_json:
        print_answer(pushed)
    elif pushed.model is None:
        out.print(f"{instance} is at its bare base: {_AT_THE_BASE[runtime]}", markup=False)
    else:
        words = _LIVE[runtime].format(instance=instance, model=pushed.model)
        out.print(words, markup=False, soft_wrap=True)


_LIVE = {
    Runtime.OLLAMA: "{instance}:latest is {model} now; `ollama run {instance}` talks to it.",
    Runtime.VLLM: "vLLM serves {model}: name it as `model`.",
}
_AT_THE_BASE = {
    Runtime.OLLAMA: "what was here of it as `latest` is gone.",
    Runtime.VLLM: "vLLM serves that by itself.",
}


def _until_made(client: SleepClient, instance: str, runtime: Runtime) -> Push:
    """Ask until the model is made, which takes minutes for a large one."""
    is_told = False
    while True:
        try:
            return client.push(instance, runtime=runtime)
        except SleepClientError as error:
            if not is_being_made(error):
                raise
            if not is_told:
                err.print("The merged model is being made; this waits for it.")
                is_told = True
            time.sleep(LOOK_AGAIN_SECONDS)
