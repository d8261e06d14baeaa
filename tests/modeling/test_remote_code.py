"""Checkpoints hold their own code: they load as the same model with and without the package (`trust_remote_code`).

The first readers load what this process wrote and save it again; the second readers load what the first ones saved."""

import builtins
import os
import signal
from collections import Counter
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from torch.nn import functional as F
from transformers import AutoConfig
from transformers.models.auto import modeling_auto
from transformers.utils import hub

import hf_tfm
from hf_tfm.modeling import modeling_tfm
from tests.grid import LANGUAGE_MODELS, ids
from tests.hub_server import HubServer
from tests.modeling.remote_code_checkpoints import (
    CAUSAL,
    CONCURRENT_LOADS,
    EMBEDDING_HEADS,
    HEADS,
    LANGUAGE_HEADS,
    LANGUAGE_MODEL_LOADS,
    LENGTH,
    LOADS,
    MAIN_LOADS,
    REMOTE_PACKAGE,
    USER_HEADS,
    Reader,
    Worker,
    assert_complete,
    assert_nothing_stale,
    auto_classes_of,
    auto_map_of,
    loaded_class,
    loaded_part,
    make_head,
    write_heads,
    write_own_file,
    write_revisions,
    write_user_heads,
    write_with_trainer,
)

# one pytest worker runs all of these tests: every other one would start its own readers
pytestmark = pytest.mark.xdist_group("remote_code")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("remote_code")


@pytest.fixture(scope="module")
def checkpoints(root):
    return write_heads(root)


@pytest.fixture(scope="module")
def trained(root):
    return write_with_trainer(root)


@pytest.fixture(scope="module")
def batch(root):
    """File of a batch for the causal head, the head's logits for it, its labels."""
    tokens = ids(3, LENGTH, seed=5)
    labels = tokens.clone()
    labels[1, 4] = -100
    torch.save({"input_ids": tokens, "labels": labels}, root / "batch.pt")
    with torch.no_grad():
        return root / "batch.pt", make_head(CAUSAL.__name__)(input_ids=tokens).logits, labels


@pytest.fixture(scope="module")
def users(root, checkpoints):
    return write_user_heads(root, checkpoints[CAUSAL.__name__][0])


@pytest.fixture(scope="module")
def first_readers(root, checkpoints, trained, batch, users):
    """Job key -> result. One hidden worker loads everything and saves every head again. For each kind of user head, an
    importable worker loads its checkpoint before and after it imports hf_tfm. One more shards a model of ours over its
    one process and saves it."""
    hidden = Worker()
    for name, (folder, expected) in checkpoints.items():
        hidden.add_job(name, "AutoConfig", function="load_config", folder=folder)
        arguments = {"folder": folder, "auto_class": auto_classes_of(name)[-1], "expected": expected}
        hidden.load_model(name, "working directory", **arguments, from_working_directory=True)
    for name, auto_class in LOADS:
        folder, expected = checkpoints[name]
        again = {"save_to": root / "again" / name} if auto_class == auto_classes_of(name)[-1] else {}
        part = loaded_part(name, auto_class)
        hidden.load_model(name, auto_class, folder=folder, auto_class=auto_class, expected=expected, part=part, **again)
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


@pytest.fixture(scope="module")
def hub_server():
    with HubServer() as server:
        yield server


@pytest.fixture(scope="module")
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
    for (name, auto_class), worker in zip(MAIN_LOADS, cycle(workers), strict=False):
        arguments = {"auto_class": auto_class, "expected": checkpoints[name][1], "part": loaded_part(name, auto_class)}
        worker.load_model(name, auto_class, folder=root / "again" / name, **arguments)
    return Reader(root / "second_hidden", "hidden", workers, hub_server.endpoint).finish()


# (how the first load of a checkpoint ends, at which of its code files)
INTERRUPTIONS = [("killed", number) for number in (1, 2, 5, 12, 27)] + [("refused", 7)]
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


@pytest.fixture(scope="module")
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


def result_of(results, *key):
    result = results[key]
    if "error" in result:
        pytest.fail(f"{key}:\n{result['error']}", pytrace=False)
    return result


def assert_loaded(results, class_name, *key):
    """The reader loaded that class from the checkpoint's own code, and its outputs are those expected bit for bit."""
    result = result_of(results, *key)
    assert result["class"] == class_name, f"{key}: loaded {result['class']}, not {class_name}"
    assert result["module"].startswith(REMOTE_PACKAGE), f"{key}: {class_name} comes from {result['module']}"
    assert not result["differences"], f"{key}: outputs differ from those expected: {result['differences']}"


# Files of a checkpoint


def test_every_public_model_is_in_an_auto_map():
    public = {name for name in hf_tfm.__all__ if isinstance(getattr(hf_tfm, name), type)}
    models = {name for name in public if issubclass(getattr(hf_tfm, name), modeling_tfm.TfmPreTrainedModel)}
    assert models == set(HEADS), f"only public: {models - set(HEADS)}; only in an _auto_map: {set(HEADS) - models}"


@pytest.mark.parametrize("name", HEADS)
def test_saved_folder_holds_exactly_the_code_needed_and_the_whole_auto_map(checkpoints, name):
    folder = checkpoints[name][0]
    assert_complete(folder, HEADS[name][1])
    odd = [path.name for path in folder.iterdir() if path.is_dir() or path.name.startswith("_")]
    assert not odd, f"{odd}: transformers copies no folders, and Trainer pushes no name with a leading underscore"


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_one_stack_of_an_encoder_decoder_is_saved_without_stale_entries(tmp_path, stack):
    getattr(make_head("TfmSeq2SeqModel"), stack).save_pretrained(tmp_path)
    assert_nothing_stale(tmp_path)


@pytest.mark.parametrize("kind", ["checkpoint-1", "final"])
@pytest.mark.parametrize("name", LANGUAGE_HEADS)
def test_trainer_writes_the_code_needed_and_the_whole_auto_map(trained, name, kind):
    assert_complete(trained[name][0][kind], HEADS[name][1])


@pytest.mark.parametrize("name", LANGUAGE_HEADS)
def test_push_to_hub_uploads_the_complete_folder(checkpoints, monkeypatch, tmp_path, name):
    def keep_folder(self, working_dir, repo_id, files_timestamps, **kwargs):
        Path(working_dir).rename(tmp_path / "pushed")
        Path(working_dir).mkdir()

    repository = SimpleNamespace(create_repo=lambda repo_id, **kwargs: SimpleNamespace(repo_id=repo_id))
    card = SimpleNamespace(save=lambda path: Path(path).write_text("card"))
    monkeypatch.setattr(hub, "hf_api", lambda *args, **kwargs: repository)
    monkeypatch.setattr(hub, "create_and_tag_model_card", lambda *args, **kwargs: card)
    monkeypatch.setattr(hub.PushToHubMixin, "_upload_modified_files", keep_folder)
    head = HEADS[name][1]
    head.from_pretrained(checkpoints[name][0]).push_to_hub("someone/model")
    assert_complete(tmp_path / "pushed", head)
    assert (tmp_path / "pushed" / "model.safetensors").exists()


# Without the package


@pytest.mark.parametrize(("name", "auto_class"), LOADS)
def test_remote_code_loads_the_same_model(first_readers, name, auto_class):
    assert_loaded(first_readers, loaded_class(name, auto_class), name, auto_class)


@pytest.mark.parametrize("name", HEADS)
def test_remote_code_loads_the_same_model_from_inside_the_folder(first_readers, name):
    assert_loaded(first_readers, name, name, "working directory")


@pytest.mark.parametrize("name", HEADS)
def test_remote_code_loads_the_configuration(first_readers, name):
    result = result_of(first_readers, name, "AutoConfig")
    assert result["class"] == LANGUAGE_MODELS[HEADS[name][0]][0].__name__
    assert result["module"].startswith(REMOTE_PACKAGE), result["module"]


@pytest.mark.parametrize("kind", ["checkpoint-1", "final"])
@pytest.mark.parametrize(("name", "auto_class"), LANGUAGE_MODEL_LOADS)
def test_remote_code_loads_what_trainer_wrote(first_readers, name, auto_class, kind):
    assert_loaded(first_readers, loaded_class(name, auto_class), name, kind, auto_class)


@pytest.mark.parametrize("name", HEADS)
def test_model_loaded_with_remote_code_saves_code_and_auto_map_again(root, first_readers, name):
    result_of(first_readers, name, auto_classes_of(name)[-1])
    assert_complete(root / "again" / name, HEADS[name][1])


@pytest.mark.parametrize(("name", "auto_class"), MAIN_LOADS)
def test_model_saved_from_remote_code_loads_with_remote_code(second_readers, name, auto_class):
    assert_loaded(second_readers, loaded_class(name, auto_class), name, auto_class)


@pytest.mark.parametrize("number", range(CONCURRENT_LOADS))
def test_concurrent_processes_load_the_same_model(second_readers, number):
    assert_loaded(second_readers, CAUSAL.__name__, "concurrent", number)


@pytest.mark.parametrize(("how", "number"), INTERRUPTIONS)
def test_interrupted_first_load_leaves_nothing_that_breaks_the_next(second_readers, how, number):
    first = second_readers["first", how, number]
    assert first == {"signal": -9} if how == "killed" else "error" in first, f"not interrupted: {first}"
    assert_loaded(second_readers, CAUSAL.__name__, "next", how, number)


@pytest.mark.parametrize(("name", "auto_class"), [load for load in LOADS if load[0] not in EMBEDDING_HEADS])
def test_remote_code_adds_the_class_to_the_name_table_of_transformers(first_readers, name, auto_class):
    table, tables = modeling_tfm.NAME_TABLES[auto_class], result_of(first_readers, name, auto_class)["tables"]
    assert table in tables, (
        f"{loaded_class(name, auto_class)} is in {tables}, not in {table}: see register_with_transformers"
    )


@pytest.mark.parametrize("name", [name for name, (_, head) in HEADS.items() if head is not CAUSAL])
def test_trainer_shifts_labels_of_the_causal_head_only(first_readers, name):
    tables = result_of(first_readers, name, auto_classes_of(name)[-1])["tables"]
    assert "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES" not in tables


def reference_smoothed_loss(logits, labels, epsilon=0.1):
    """Mean over tokens with labels of (1 - epsilon) (-log p(label)) + epsilon (mean of -log p over the vocabulary)."""
    nats, has_label = -F.log_softmax(logits, dim=-1), labels != -100
    at_label = nats.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    return ((1 - epsilon) * at_label + epsilon * nats.mean(-1))[has_label].mean().item()


def test_trainer_shifts_labels_for_label_smoothing_of_a_remote_model(first_readers, batch):
    _, logits, labels = batch
    wanted, unshifted = reference_smoothed_loss(logits[:, :-1], labels[:, 1:]), reference_smoothed_loss(logits, labels)
    assert abs(wanted - unshifted) > 0.01, "the batch does not distinguish shifted from unshifted labels"
    found = result_of(first_readers, "smoothed")["loss"]
    assert abs(found - wanted) < 1e-5, (
        f"smoothed loss {found:.6f}; reference {wanted:.6f} with shifted labels, {unshifted:.6f} without: "
        "is the causal class in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES?"
    )


# With the package


@pytest.fixture
def no_prompts(monkeypatch):
    """Fails the test if transformers asks the user a question."""

    def refuse(prompt=""):
        raise AssertionError(f"transformers asked: {prompt}")

    monkeypatch.setattr(builtins, "input", refuse)


@pytest.mark.parametrize("trusted", [{}, {"trust_remote_code": True}], ids=["trust_unset", "trusted"])
@pytest.mark.parametrize(("name", "auto_class"), LOADS)
def test_package_loads_its_own_class_and_saves_it_complete(
    checkpoints, no_prompts, tmp_path, name, auto_class, trusted
):
    architecture, head = HEADS[name]
    folder = checkpoints[name][0]
    assert type(AutoConfig.from_pretrained(folder, **trusted)) is LANGUAGE_MODELS[architecture][0]
    model = getattr(transformers, auto_class).from_pretrained(folder, **trusted)
    wanted = getattr(hf_tfm, loaded_class(name, auto_class))
    assert type(model) is wanted, f"{type(model)} is not {wanted}"
    model.save_pretrained(tmp_path)
    assert_complete(tmp_path, head)


def test_fsdp_model_is_saved_with_its_own_code(root, first_readers, second_readers):
    # transformers reads module and name from the class that FSDP2 makes on the fly, and would save torch's file
    found = result_of(first_readers, "sharded")["class"]
    assert found == f"FSDP{CAUSAL.__name__}", f"the reader saved a {found}, which is not sharded"
    assert_complete(root / "sharded", CAUSAL)
    assert_loaded(second_readers, CAUSAL.__name__, "sharded")


# Classes that users derive


@pytest.mark.parametrize("kind", USER_HEADS)
def test_user_head_is_saved_with_its_own_file_and_no_stale_entry(users, kind):
    user_class, folder, _ = users[kind]
    found = auto_map_of(folder)
    assert found.get("AutoModelForCausalLM") == f"user_{kind}.{user_class.__name__}", found
    assert_nothing_stale(folder)


@pytest.mark.parametrize("kind", USER_HEADS)
def test_user_head_loads_before_the_package_is_imported(users, first_readers, kind):
    assert_loaded(first_readers, users[kind][0].__name__, "before import", kind)


@pytest.mark.parametrize("kind", USER_HEADS)
def test_user_head_is_never_replaced_by_ours_after_the_package_is_imported(users, first_readers, kind):
    """It loads as itself, or the error names it."""
    name, result = users[kind][0].__name__, first_readers["after import", kind]
    if "error" in result:
        assert name in result["error"].strip().splitlines()[-1], f"the error does not name the class: {result}"
    else:
        assert_loaded(first_readers, name, "after import", kind)


@pytest.mark.parametrize(
    ("case", "code"),
    [("main", "second"), ("code_revision", "first"), ("revision", "first"), ("both", "second"), ("token", "first"),
     ("offline", "first")],
)  # fmt: skip
def test_user_head_runs_the_code_asked_for_after_the_package_is_imported(revision_readers, case, code):
    result = result_of(revision_readers, case)
    assert (result["class"], result["code"]) == ("RegisteredHead", code)
    assert result["config"] == "TfmDecoderConfig", "the configuration cannot be pickled"


def test_user_head_is_not_run_without_trust_after_the_package_is_imported(revision_readers):
    assert "trust_remote_code=True" in revision_readers["untrusted",]["error"].strip().splitlines()[-1]


def test_token_is_sent_where_it_was_given_only(revision_readers):
    assert {token for token in revision_readers["tokens"] if token} == {"Bearer secret"}


@pytest.mark.parametrize("kind", USER_HEADS)
def test_user_head_without_the_package_names_what_is_missing(first_readers, kind):
    error = first_readers["hidden", kind].get("error", "no error")
    assert "hf_tfm" in error.strip().splitlines()[-1], f"the last line does not name what is missing:\n{error}"


def test_user_head_whose_file_imports_those_of_the_checkpoint_is_saved_again_with_it(root, first_readers):
    for load in ("first", "again"):
        assert_loaded(first_readers, "RegisteredHead", "own file", load)
    names = {
        "AutoConfig": "configuration_tfm.TfmDecoderConfig",
        "AutoModelForCausalLM": "user_registered.RegisteredHead",
    }
    assert auto_map_of(root / "again" / "own_file") == names, "other Auto classes would drop the weights of the head"
    assert_nothing_stale(root / "again" / "own_file")


def test_class_without_a_file_is_never_replaced_by_ours(checkpoints, no_prompts, tmp_path):
    """The code of a class defined in an interactive session cannot be saved; its checkpoint must not load as another
    class."""
    interactive = type("InteractiveHead", (CAUSAL,), {"__module__": "__main__"})
    interactive.from_pretrained(checkpoints[CAUSAL.__name__][0]).save_pretrained(tmp_path)
    assert "AutoModelForCausalLM" not in auto_map_of(tmp_path), "auto_map names a class whose code is not there"
    assert type(interactive.from_pretrained(tmp_path)) is interactive
    assert type(CAUSAL.from_pretrained(tmp_path)) is CAUSAL
    with pytest.raises(ValueError, match="InteractiveHead"):
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path)


@pytest.mark.parametrize("kind", USER_HEADS)
def test_trainer_shifts_labels_of_user_causal_heads(users, kind):
    names = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    assert users[kind][0].__name__ in names, "label smoothing would not shift the labels of this class"
