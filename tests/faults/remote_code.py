"""First loads of a checkpoint with its own code from a Hub: by many processes at the same moment, and interrupted."""

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.hub.server import HubServer
from tests.modeling.remote_code.checkpoints import CAUSAL, make_head, save_expected_outputs
from tests.modeling.remote_code.processes import CONCURRENT_LOADS, Reader, Worker

from .interruptions import DRAWS

NAME = "user/model"


@dataclass
class Checkpoint:
    """A saved causal language model, the file of its outputs, and a folder for those who load it."""

    folder: Path
    expected: Path
    root: Path

    def load(self, worker: Worker, key: str, **options: Any) -> None:
        worker.load_model(key, folder=NAME, auto_class="AutoModelForCausalLM", **options)


def prepare(root: Path) -> Checkpoint:
    folder = root / "saved"
    make_head(CAUSAL.__name__).save_pretrained(folder)
    # weights that are loaded: rounding depends on their alignment in memory
    return Checkpoint(folder, save_expected_outputs(CAUSAL.from_pretrained(folder), root / "expected.pt"), root)


def load_at_once(checkpoint: Checkpoint, random: Random, output: str) -> str | None:
    """Eight processes without a cache load the checkpoint at the same moment."""
    workers = [Worker() for _ in range(CONCURRENT_LOADS)]
    for number, worker in enumerate(workers):
        worker.add_job("wait", number, function="wait_for_workers")
        checkpoint.load(worker, f"load {number}", expected=checkpoint.expected)
    results = read(checkpoint, output, workers)
    problems = (problem(results[f"load {number}",]) for number in range(CONCURRENT_LOADS))
    return next((text for text in problems if text), None)


def interrupt(checkpoint: Checkpoint, random: Random, output: str) -> str | None:
    """A first load is killed, or refused by the Hub, at one of its files; the next one loads the checkpoint."""
    files = len(list(checkpoint.folder.glob("*.py")))
    for draw in range(DRAWS):
        how, worker = random.choice(("killed", "refused")), Worker()
        if how == "killed":
            arguments = {"folder": NAME, "auto_class": "AutoModelForCausalLM"}
            worker.add_job("first", function="interrupted_load", **arguments)
        else:
            checkpoint.load(worker, "first", token=how)
        checkpoint.load(worker, "next", expected=checkpoint.expected)
        results = read(checkpoint, f"{output}-{draw}", [worker], interruption(how, files, random))
        if results["first",] == {"signal": -signal.SIGKILL} or "error" in results["first",]:
            return problem(results["next",])
    raise RuntimeError(f"{DRAWS} loads ended before they were interrupted")


def interruption(how: str, files: int, random: Random) -> Callable[[str, str], int | None]:
    """What the Hub does at a request: from that for a random file of code on, it answers with the status 500, or it
    kills the process that asks, at once or some milliseconds later."""
    last, delay, count = random.randint(1, files), random.choice((0.0, random.uniform(0, 0.02))), 0

    def on_request(path: str, token: str) -> int | None:
        nonlocal count
        # the next load has no token
        if not path.endswith(".py") or not token:
            return None
        count += 1
        if how == "killed" and count == last:
            kill = threading.Timer(delay, os.kill, (int(token.rpartition(" ")[2]), signal.SIGKILL))
            kill.start()
            if not delay:
                kill.join()
        return 500 if how == "refused" and count >= last else None

    return on_request


def read(
    checkpoint: Checkpoint,
    output: str,
    workers: list[Worker],
    on_request: Callable[[str, str], int | None] = lambda path, token: None,
) -> dict[Any, Any]:
    """Job key -> result, of processes in which hf_tfm cannot be imported, and whose cache is empty."""
    with HubServer() as server:
        server.add(NAME, checkpoint.folder)
        server.on_request = on_request
        return Reader(checkpoint.root / output, "hidden", workers, server.endpoint).finish()


def problem(result: dict[str, Any]) -> str | None:
    """How a loaded model differs from the saved one, or the error of the load."""
    if "error" in result:
        return result["error"]
    if result["class"] != CAUSAL.__name__:
        return f"loaded as {result['class']}"
    return f"other outputs: {result['differences']}" if result["differences"] else None
