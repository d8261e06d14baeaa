"""Checkpoints, and the processes that load them, for all tests of this folder.

The first readers load what this process wrote and save it again; the second readers load what the first ones saved."""

import builtins
import os
import signal
from collections import Counter
from itertools import cycle

import pytest
import torch

from tests.grid import ids
from tests.hub.server import HubServer
from tests.modeling.remote_code.checkpoints import (
    CAUSAL,
    LANGUAGE_HEADS,
    LANGUAGE_MODEL_LOADS,
    LENGTH,
    LOADS,
    MAIN_LOADS,
    again,
    auto_classes_of,
    loaded_part,
    make_head,
    write_heads,
    write_own_file,
    write_revisions,
    write_user_heads,
    write_with_trainer,
)
from tests.modeling.remote_code.processes import CONCURRENT_LOADS, INTERRUPTIONS, Reader, Worker


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("remote_code")


@pytest.fixture(scope="session")
def checkpoints(root):
    return write_heads(root)


@pytest.fixture(scope="session")
def trained(root):
    return write_with_trainer(root)


@pytest.fixture(scope="session")
def batch(root):
    """File of a batch for the causal head, the head's logits for it, its labels."""
    tokens = ids(3, LENGTH, seed=5)
    labels = tokens.clone()
    labels[1, 4] = -100
    torch.save({"input_ids": tokens, "labels": labels}, root / "batch.pt")
    with torch.no_grad():
        return root / "batch.pt", make_head(CAUSAL.__name__)(input_ids=tokens).logits, labels


@pytest.fixture(scope="session")
def users(root, checkpoints):
    return write_user_heads(root, checkpoints[CAUSAL.__name__][0])


@pytest.fixture(scope="session")
def first_readers(root, checkpoints, trained, batch, users):
    """Job key -> result. One hidden worker loads everything and saves every head again. For each kind of user head, an
    importable worker loads its checkpoint before and after it imports hf_tfm. One more shards a model of ours over its
    one process and saves it."""
    hidden = Worker()
    for name in LANGUAGE_HEADS:
        folder, expected = checkpoints[name]
        hidden.add_job(name, "AutoConfig", function="load_config", folder=folder)
        arguments = {"folder": folder, "auto_class": auto_classes_of(name)[-1], "expected": expected}
        hidden.load_model(name, "working directory", **arguments, from_working_directory=True)
    for name, auto_class in LOADS:
        folder, expected = checkpoints[name]
        save_to = {"save_to": again(root, name)} if auto_class == auto_classes_of(name)[-1] else {}
        part = loaded_part(name, auto_class)
        hidden.load_model(
            name, auto_class, folder=folder, auto_class=auto_class, expected=expected, part=part, **save_to
        )
    for name, auto_class in LANGUAGE_MODEL_LOADS:
        folders, expected = trained[name]
        for kind, folder in folders.items():
            part = loaded_part(name, auto_class)
            hidden.load_model(
                name, kind, auto_class, folder=folder, auto_class=auto_class, expected=expected, part=part
            )
    folder, expected = (
        write_own_file(root, checkpoints[CAUSAL.__name__][0], users["registered"][1]),
        users["registered"][2],
    )
    arguments = {"auto_class": "AutoModelForCausalLM", "expected": expected}
    hidden.load_model("own file", "first", folder=folder, save_to=root / "again" / "own_file", **arguments)
    hidden.load_model("own file", "again", folder=root / "again" / "own_file", **arguments)
    causal = {"folder": checkpoints[CAUSAL.__name__][0], "auto_class": "AutoModelForCausalLM"}
    hidden.add_job("smoothed", function="smoothed_step", **causal, batch=batch[0], output_dir=root / "smoothed")
    user_workers = []
    for kind, (_, folder, expected) in users.items():
        arguments = {"folder": folder, "auto_class": "AutoModelForCausalLM", "expected": expected}
        hidden.load_model("hidden", kind, **arguments)
        worker = Worker()
        worker.load_model("before import", kind, **arguments)
        worker.add_job("import", kind, function="import_package")
        worker.load_model("after import", kind, **arguments)
        user_workers.append(worker)
    sharding_worker = Worker()
    arguments = {"folder": causal["folder"], "class_name": CAUSAL.__name__, "save_to": root / "sharded"}
    sharding_worker.add_job("sharded", function="save_sharded", **arguments)
    readers = [
        Reader(root / "first_hidden", "hidden", [hidden]),
        Reader(root / "first_importable", "importable", [*user_workers, sharding_worker]),
    ]
    return {key: result for reader in readers for key, result in reader.finish().items()}


@pytest.fixture(scope="session")
def hub_server():
    with HubServer() as server:
        yield server


@pytest.fixture(scope="session")
def second_readers(root, hub_server, checkpoints, first_readers):
    """Job key -> result. Hidden workers with one modules cache load one checkpoint from the Hub at the same moment;
    some then load one whose first load the Hub cuts short; each loads a part of what the first readers saved."""
    workers = [Worker() for _ in range(CONCURRENT_LOADS)]
    folder, expected = checkpoints[CAUSAL.__name__]
    hub_server.add("user/concurrent", folder)
    arguments = {"auto_class": "AutoModelForCausalLM", "expected": expected}
    for number, worker in enumerate(workers):
        worker.add_job("wait", number, function="wait_for_workers")
        worker.load_model("concurrent", number, folder="user/concurrent", **arguments)
    for (how, number), worker in zip(INTERRUPTIONS, cycle(workers), strict=False):
        name = f"user/{how}-{number}"
        hub_server.add(name, folder)
        first = {"function": "interrupted_load"} if how == "killed" else {"function": "load_model", "token": how}
        worker.add_job("first", how, number, folder=name, auto_class="AutoModelForCausalLM", **first)
        worker.load_model("next", how, number, folder=name, **arguments)
    hub_server.on_request = interrupt
    workers[0].load_model("sharded", folder=root / "sharded", auto_class="AutoModelForCausalLM", expected=expected)
    # one process: two must not copy the code of one folder at the same moment
    for name, auto_class in MAIN_LOADS:
        arguments = {"auto_class": auto_class, "expected": checkpoints[name][1], "part": loaded_part(name, auto_class)}
        workers[-1].load_model(name, auto_class, folder=again(root, name), **arguments)
    return Reader(root / "second_hidden", "hidden", workers, hub_server.endpoint).finish()


code_requests: Counter = Counter()


def interrupt(path, token):
    """Kill the process that asks for a code file, or send it the status 500, at the requests in INTERRUPTIONS."""
    how, _, number = path.removeprefix("/user/").partition("/")[0].partition("-")
    if not path.endswith(".py") or not number:
        return None
    code_requests[how, number] += 1
    if how == "killed" and code_requests[how, number] == int(number):
        os.kill(int(token.rpartition(" ")[2]), signal.SIGKILL)
    return 500 if token.endswith("refused") and code_requests[how, number] >= int(number) else None


@pytest.fixture(scope="session")
def revision_readers(root, users):
    """Job key -> result. A worker that imports the package loads a user's head whose code differs between revisions."""
    worker = Worker()
    worker.add_job("import", function="import_package")
    with HubServer() as server:
        name, (_, folder, _) = "user/revisions", users["registered"]
        first, second = (server.add(name, revision) for revision in write_revisions(root / "revisions", folder))
        cases = {
            "main": {},
            "code_revision": {"code_revision": first},
            "revision": {"revision": first},
            "both": {"revision": first, "code_revision": second},
            "token": {"token": "secret", "revision": first, "cache_dir": root / "other_cache"},
            "offline": {"revision": first, "cache_dir": root / "other_cache", "local_files_only": True},
            "untrusted": {"trust_remote_code": False},
        }
        for case, options in cases.items():
            worker.load_model(case, folder=name, auto_class="AutoModelForCausalLM", **options)
        found = Reader(root / "revision_reader", "importable", [worker], server.endpoint).finish()
    return found | {"tokens": [token for _, token in server.requests]}


@pytest.fixture
def no_prompts(monkeypatch):
    """Fails the test if transformers asks the user a question."""

    def refuse(prompt=""):
        raise AssertionError(f"transformers asked: {prompt}")

    monkeypatch.setattr(builtins, "input", refuse)
