"""`hf-tfm chat CHECKPOINT`: transformers' chat in a terminal. Where no address is given, it starts the server."""

import contextlib
import functools
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

from transformers.cli.chat import Chat

from .typer_commands import run_command

__all__ = ["main"]


def main(arguments: list[str], prog: str) -> None:
    run_command(chat, Chat, arguments, prog, base_url=None)


@functools.wraps(Chat, updated=())
def chat(**options: Any) -> None:
    # the address is optional, so a setting of generation may stand in its place
    if "=" in (options["base_url"] or ""):
        options["generate_flags"] = [options.pop("base_url"), *(options["generate_flags"] or [])]
    if options.get("base_url"):
        Chat(**options)
        return
    with running_server(options["model_id"]) as options["base_url"]:
        Chat(**options)


@contextlib.contextmanager
def running_server(checkpoint: str) -> Iterator[str]:
    """The address of a server of a checkpoint, which ends with the chat. Raises ValueError with what it says last if it
    does not start."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "hf_tfm.cli", "serve", checkpoint, "--port", str(port)]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        print(f"Starting a server of {checkpoint} ...", flush=True)
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            while not is_up(f"http://localhost:{port}/health"):
                if server.poll() is not None:
                    log.seek(0)
                    raise ValueError(f"The server did not start: {log.read().strip().rpartition(chr(10))[2]}")
                time.sleep(0.2)
            yield f"http://localhost:{port}"
        finally:
            server.terminate()
            server.wait()


def is_up(address: str) -> bool:
    """Whether something answers at an address."""
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except OSError:
        return False
