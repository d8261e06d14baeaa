"""Runs that push to a Hub of which one call fails."""

import dataclasses
import importlib
import json
import shutil
from functools import partial
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from huggingface_hub.errors import HfHubHTTPError, HTTPError

from tests.training.test_push import EXPECTED_FILES, Hub, pushed
from tests.training.test_train import refuse_connections

from .commands import Command, one_line, write_data

# httpx or httpx2, as the installed huggingface_hub uses
HTTPX: Any = importlib.import_module(HTTPError.__module__.split(".")[0])
ERRORS = {
    "status 500": HfHubHTTPError("the Hub refuses", response=SimpleNamespace(headers={}, request=None)),  # type: ignore[arg-type]
    "no connection": HTTPX.ConnectError("[Errno 111] Connection refused"),
    "time-out": HTTPX.ReadTimeout("The read operation timed out"),
    "connection lost": HTTPX.RemoteProtocolError("Server disconnected without sending a response"),
}
CALLS_FILE = "calls.json"


class FailingHub(Hub):
    """A Hub whose call with the number `fails` ends with an error; it writes how often it was called."""

    def __init__(self, fails: int | None, error: str) -> None:
        super().__init__()
        self.fails, self.error, self.calls = fails, error, 0

    def count(self) -> None:
        number, self.calls = self.calls, self.calls + 1
        Path(CALLS_FILE).write_text(json.dumps(self.calls))
        if number == self.fails:
            raise ERRORS[self.error]

    def create_repo(self, name: str, **kwargs: Any) -> Any:
        self.count()
        return super().create_repo(name, **kwargs)

    def upload_folder(self, *args: Any, **upload: Any) -> None:
        self.count()
        super().upload_folder(*args, **upload)


def failing_hub(fails: int | None, error: str) -> None:
    """A job of a process."""
    refuse_connections()
    from transformers.utils import hub

    hub._hf_api = FailingHub(fails, error)


@dataclasses.dataclass
class Pushing:
    """A command that pushes, and the number of its calls."""

    command: Command
    calls: int


def prepare(folder: Path) -> Pushing:
    write_data(folder)
    options = {"push_to_hub": True, "hub_model_id": "someone/model", "hub_strategy": "all_checkpoints"}
    # its result is that of the command without pushes
    command = Command(folder, {}).measure()
    command.options = options
    done = command.run("pushing", partial(failing_hub, None, ""))
    if done.code:
        raise RuntimeError(f"pushing ends with {done.code}:\n{done.stderr}")
    return Pushing(command, json.loads((folder / CALLS_FILE).read_text()))


def fail_once(pushing: Pushing, random: Random, output: str) -> str | None:
    """Each trial refuses the next call. The run says so, and its last push is whole, at the latest when the same
    command is run again."""
    number, error = int(output.rsplit("-", 1)[1]), random.choice(list(ERRORS))
    folder = pushing.command.folder / output
    write_data(folder)
    command = dataclasses.replace(pushing.command, folder=folder)
    place = f"call {number % pushing.calls}, {error}"
    done = command.run("out", partial(failing_hub, number % pushing.calls, error))
    if done.code and not one_line(done):
        return f"{place}: ended with {done.code}: {done.stderr[-2000:]}"
    if not done.code and "Not pushed" not in done.stdout and "trying again" not in done.stdout:
        return f"{place}: no word of the failure"
    if done.code:
        again = command.run("out", partial(failing_hub, None, ""))
        if again.code:
            return f"{place}: the same command ends with {again.code}: {again.stderr[-2000:]}"
    last = pushed(folder)["End of training"]
    missing = EXPECTED_FILES - {path.name for path in last.iterdir()}
    if missing:
        return f"{place}: the last push lacks {sorted(missing)}"
    if (last / "model.safetensors").read_bytes() != (folder / "out/model.safetensors").read_bytes():
        return f"{place}: the last push has other weights"
    lost = command.difference("out")
    if not lost:
        shutil.rmtree(folder)
    return lost
