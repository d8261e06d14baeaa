"""A checkpoint travels with its code: whoever opens it, wherever, with or without the package, gets the same model.

The first readers open what this process wrote and save it again; the second ones open what the first ones saved."""

import builtins
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
from tests.grid import TRUNKS, ids
from tests.modeling.travel import (
    AT_ONCE,
    CAUSAL,
    HEADS,
    LANGUAGE_HEADS,
    LENGTH,
    MAIN_OPENINGS,
    OF_LANGUAGE_HEADS,
    OPENINGS,
    REMOTE,
    USERS,
    Reader,
    Traveller,
    assert_complete,
    assert_nothing_stale,
    auto_map_of,
    given_class,
    make_head,
    own_openings,
    part_of,
    write_as_user,
    write_heads,
    write_with_trainer,
)

# one process for all of these tests: each would start its own readers
pytestmark = pytest.mark.xdist_group("travel")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("portability")


@pytest.fixture(scope="module")
def checkpoints(place):
    return write_heads(place)


@pytest.fixture(scope="module")
def trained(place):
    return write_with_trainer(place)


@pytest.fixture(scope="module")
def batch(place):
    """File of a batch for the causal head, its logits, its labels."""
    words = ids(3, LENGTH, seed=5)
    labels = words.clone()
    labels[1, 4] = -100
    torch.save({"input_ids": words, "labels": labels}, place / "batch.pt")
    with torch.no_grad():
        return place / "batch.pt", make_head(CAUSAL.__name__)(input_ids=words).logits, labels


@pytest.fixture(scope="module")
def users(place, checkpoints):
    return write_as_user(place, checkpoints[CAUSAL.__name__][0])


@pytest.fixture(scope="module")
def first_readers(place, checkpoints, trained, batch, users):
    """Errand key -> result. One hidden traveller opens everything and saves every head again. For each kind of user,
    an importable one opens the user's checkpoint before and after hf_tfm is imported; one more shards a model of ours
    over its one process and saves it."""
    hidden = Traveller()
    for name, (folder, expected) in checkpoints.items():
        hidden.errand(name, "AutoConfig", do="open_config", folder=folder)
        hidden.open(name, "inside", folder=folder, auto_class=own_openings(name)[-1], expected=expected, inside=True)
    for name, auto_class in OPENINGS:
        folder, expected = checkpoints[name]
        again = {"save_to": place / "again" / name} if auto_class == own_openings(name)[-1] else {}
        part = part_of(name, auto_class)
        hidden.open(name, auto_class, folder=folder, auto_class=auto_class, expected=expected, part=part, **again)
    for name, auto_class in OF_LANGUAGE_HEADS:
        folders, expected = trained[name]
        for kind, folder in folders.items():
            part = part_of(name, auto_class)
            hidden.open(name, kind, auto_class, folder=folder, auto_class=auto_class, expected=expected, part=part)
    causal = {"folder": checkpoints[CAUSAL.__name__][0], "auto_class": "AutoModelForCausalLM"}
    hidden.errand("smoothed", do="smoothed_step", **causal, batch=batch[0], output_dir=place / "smoothed")
    owners = []
    for kind, (_, folder, expected) in users.items():
        opening = {"folder": folder, "auto_class": "AutoModelForCausalLM", "expected": expected}
        hidden.open("hidden", kind, **opening)
        owner = Traveller()
        owner.open("fresh", kind, **opening)
        owner.errand("import", kind, do="import_package")
        owner.open("imported", kind, **opening)
        owners.append(owner)
    sharder = Traveller()
    sharding = {"folder": causal["folder"], "class_name": CAUSAL.__name__, "save_to": place / "sharded"}
    sharder.errand("sharded", do="save_sharded", **sharding)
    readers = [
        Reader(place / "first_hidden", "hidden", [hidden]),
        Reader(place / "first_importable", "importable", [*owners, sharder]),
    ]
    return {key: result for reader in readers for key, result in reader.finish().items()}


@pytest.fixture(scope="module")
def second_readers(place, checkpoints, first_readers):
    """Errand key -> result. Four hidden travellers with one modules cache open one checkpoint at the same moment; then
    each opens a part of what the first readers saved."""
    travellers = [Traveller() for _ in range(AT_ONCE)]
    folder, expected = checkpoints[CAUSAL.__name__]
    for number, traveller in enumerate(travellers):
        traveller.errand("meet", number, do="meet")
        traveller.open("at once", number, folder=folder, auto_class="AutoModelForCausalLM", expected=expected)
    travellers[0].open("sharded", folder=place / "sharded", auto_class="AutoModelForCausalLM", expected=expected)
    for (name, auto_class), traveller in zip(MAIN_OPENINGS, cycle(travellers), strict=False):
        arguments = {"auto_class": auto_class, "expected": checkpoints[name][1], "part": part_of(name, auto_class)}
        traveller.open(name, auto_class, folder=place / "again" / name, **arguments)
    return Reader(place / "second_hidden", "hidden", travellers).finish()


def result_of(results, *key):
    result = results[key]
    if "error" in result:
        pytest.fail(f"{key}:\n{result['error']}", pytrace=False)
    return result


def assert_opened(results, class_name, *key):
    """The reader got that class, from the checkpoint's own code, with the writer's outputs bit for bit."""
    result = result_of(results, *key)
    assert result["class"] == class_name, f"{key}: got {result['class']}, not {class_name}"
    assert result["module"].startswith(REMOTE), f"{key}: {class_name} is the one of {result['module']}"
    assert not result["differences"], f"{key}: outputs differ from the writer's: {result['differences']}"


# The folder


def test_every_public_model_is_named_by_an_auto_map():
    public = {name for name in hf_tfm.__all__ if isinstance(getattr(hf_tfm, name), type)}
    models = {name for name in public if issubclass(getattr(hf_tfm, name), modeling_tfm.TfmPreTrainedModel)}
    assert models == set(HEADS), f"only public: {models - set(HEADS)}; only in an _auto_map: {set(HEADS) - models}"


@pytest.mark.parametrize("name", HEADS)
def test_folder_holds_exactly_the_code_needed_and_the_whole_auto_map(checkpoints, name):
    folder = checkpoints[name][0]
    assert_complete(folder, HEADS[name][1])
    odd = [path.name for path in folder.iterdir() if path.is_dir() or path.name.startswith("_")]
    assert not odd, f"{odd}: the host copies no folders, and Trainer pushes no name with a leading underscore"


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_one_side_saved_alone_names_no_class_that_is_not_there(tmp_path, side):
    getattr(make_head("TfmSeq2SeqModel"), side).save_pretrained(tmp_path)
    assert_nothing_stale(tmp_path)


@pytest.mark.parametrize("kind", ["checkpoint-1", "final"])
@pytest.mark.parametrize("name", LANGUAGE_HEADS)
def test_trainer_writes_the_code_needed_and_the_whole_auto_map(trained, name, kind):
    assert_complete(trained[name][0][kind], HEADS[name][1])


@pytest.mark.parametrize("name", LANGUAGE_HEADS)
def test_push_uploads_complete_folder(checkpoints, monkeypatch, tmp_path, name):
    def keep(self, working_dir, repo_id, files_timestamps, **kwargs):
        Path(working_dir).rename(tmp_path / "pushed")
        Path(working_dir).mkdir()

    repository = SimpleNamespace(create_repo=lambda repo_id, **kwargs: SimpleNamespace(repo_id=repo_id))
    card = SimpleNamespace(save=lambda path: Path(path).write_text("card"))
    monkeypatch.setattr(hub, "hf_api", lambda *args, **kwargs: repository)
    monkeypatch.setattr(hub, "create_and_tag_model_card", lambda *args, **kwargs: card)
    monkeypatch.setattr(hub.PushToHubMixin, "_upload_modified_files", keep)
    head = HEADS[name][1]
    head.from_pretrained(checkpoints[name][0]).push_to_hub("someone/model")
    assert_complete(tmp_path / "pushed", head)
    assert (tmp_path / "pushed" / "model.safetensors").exists()


# Without the package


@pytest.mark.parametrize(("name", "auto_class"), OPENINGS)
def test_stranger_opens_the_same_model(first_readers, name, auto_class):
    assert_opened(first_readers, given_class(name, auto_class), name, auto_class)


@pytest.mark.parametrize("name", HEADS)
def test_stranger_opens_the_same_model_from_inside_the_folder(first_readers, name):
    assert_opened(first_readers, name, name, "inside")


@pytest.mark.parametrize("name", HEADS)
def test_stranger_opens_the_configuration(first_readers, name):
    result = result_of(first_readers, name, "AutoConfig")
    assert result["class"] == TRUNKS[HEADS[name][0]][0].__name__
    assert result["module"].startswith(REMOTE), result["module"]


@pytest.mark.parametrize("kind", ["checkpoint-1", "final"])
@pytest.mark.parametrize(("name", "auto_class"), OF_LANGUAGE_HEADS)
def test_stranger_opens_what_trainer_wrote(first_readers, name, auto_class, kind):
    assert_opened(first_readers, given_class(name, auto_class), name, kind, auto_class)


@pytest.mark.parametrize("name", HEADS)
def test_stranger_saves_code_and_auto_map_again(place, first_readers, name):
    result_of(first_readers, name, own_openings(name)[-1])
    assert_complete(place / "again" / name, HEADS[name][1])


@pytest.mark.parametrize(("name", "auto_class"), MAIN_OPENINGS)
def test_second_stranger_opens_what_the_first_one_saved(second_readers, name, auto_class):
    assert_opened(second_readers, given_class(name, auto_class), name, auto_class)


@pytest.mark.parametrize("number", range(AT_ONCE))
def test_strangers_at_once_do_not_disturb_each_other(second_readers, number):
    assert_opened(second_readers, CAUSAL.__name__, "at once", number)


@pytest.mark.parametrize(("name", "auto_class"), OPENINGS)
def test_stranger_finds_the_class_in_the_name_table_of_the_host(first_readers, name, auto_class):
    table, tables = modeling_tfm.NAME_TABLES[auto_class], result_of(first_readers, name, auto_class)["tables"]
    assert table in tables, (
        f"{given_class(name, auto_class)} is in {tables}, not in {table}: see register_with_transformers"
    )


@pytest.mark.parametrize("name", [name for name, (_, head) in HEADS.items() if head is not CAUSAL])
def test_only_the_causal_head_has_its_labels_shifted_by_trainer(first_readers, name):
    tables = result_of(first_readers, name, own_openings(name)[-1])["tables"]
    assert "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES" not in tables


def smoothed_by_hand(logits, labels, epsilon=0.1):
    """Mean over scored tokens of (1 - epsilon) times the surprise at the label + epsilon times the mean surprise."""
    surprise, scored = -F.log_softmax(logits, dim=-1), labels != -100
    at_label = surprise.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    return ((1 - epsilon) * at_label + epsilon * surprise.mean(-1))[scored].mean().item()


def test_label_smoothing_of_a_stranger_shifts_labels(first_readers, batch):
    _, logits, labels = batch
    wanted, unshifted = smoothed_by_hand(logits[:, :-1], labels[:, 1:]), smoothed_by_hand(logits, labels)
    assert abs(wanted - unshifted) > 0.01, "the batch cannot tell shifted from unshifted labels"
    found = result_of(first_readers, "smoothed")["loss"]
    assert abs(found - wanted) < 1e-5, (
        f"smoothed loss {found:.6f}; by hand {wanted:.6f} with shifted labels, {unshifted:.6f} without: "
        "is the causal class in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES?"
    )


# With the package


@pytest.fixture
def no_questions(monkeypatch):
    def refuse(prompt=""):
        raise AssertionError(f"asked: {prompt}")

    monkeypatch.setattr(builtins, "input", refuse)


@pytest.mark.parametrize("trusted", [{}, {"trust_remote_code": True}], ids=["trust_unset", "trusted"])
@pytest.mark.parametrize(("name", "auto_class"), OPENINGS)
def test_package_opens_with_its_own_class_and_saves_complete(
    checkpoints, no_questions, tmp_path, name, auto_class, trusted
):
    architecture, head = HEADS[name]
    folder = checkpoints[name][0]
    assert type(AutoConfig.from_pretrained(folder, **trusted)) is TRUNKS[architecture][0]
    model = getattr(transformers, auto_class).from_pretrained(folder, **trusted)
    wanted = getattr(hf_tfm, given_class(name, auto_class))
    assert type(model) is wanted, f"{type(model)} is not {wanted}"
    model.save_pretrained(tmp_path)
    assert_complete(tmp_path, head)


def test_sharded_model_is_saved_as_itself(place, first_readers, second_readers):
    # the host reads module and name off the class that FSDP2 makes on the fly, and would save torch's own file
    found = result_of(first_readers, "sharded")["class"]
    assert found == f"FSDP{CAUSAL.__name__}", f"the reader saved a {found}, which is not sharded"
    assert_complete(place / "sharded", CAUSAL)
    assert_opened(second_readers, CAUSAL.__name__, "sharded")


# Classes that users derive


@pytest.mark.parametrize("kind", USERS)
def test_users_class_is_saved_with_its_own_file_and_no_stale_entry(users, kind):
    user_class, folder, _ = users[kind]
    found = auto_map_of(folder)
    assert found.get("AutoModelForCausalLM") == f"user_{kind}.{user_class.__name__}", found
    assert_nothing_stale(folder)


@pytest.mark.parametrize("kind", USERS)
def test_users_class_opens_as_itself_in_a_fresh_process(users, first_readers, kind):
    assert_opened(first_readers, users[kind][0].__name__, "fresh", kind)


@pytest.mark.parametrize("kind", USERS)
def test_users_class_is_never_replaced_by_ours_where_the_package_is_imported(users, first_readers, kind):
    """Itself, or an error that names it."""
    name, result = users[kind][0].__name__, first_readers["imported", kind]
    if "error" in result:
        assert name in result["error"].strip().splitlines()[-1], f"the error does not say whose it is: {result}"
    else:
        assert_opened(first_readers, name, "imported", kind)


@pytest.mark.parametrize("kind", USERS)
def test_users_class_says_that_it_needs_the_package(first_readers, kind):
    error = first_readers["hidden", kind].get("error", "no error")
    assert "hf_tfm" in error.strip().splitlines()[-1], f"the last line should name what is missing:\n{error}"


def test_class_without_a_file_is_never_replaced_by_ours(checkpoints, no_questions, tmp_path):
    """A class typed at a prompt cannot travel; its checkpoint must not open as something else."""
    typed = type("TypedHead", (CAUSAL,), {"__module__": "__main__"})
    typed.from_pretrained(checkpoints[CAUSAL.__name__][0]).save_pretrained(tmp_path)
    assert "AutoModelForCausalLM" not in auto_map_of(tmp_path), "auto_map names a class whose code is not there"
    assert type(typed.from_pretrained(tmp_path)) is typed
    assert type(CAUSAL.from_pretrained(tmp_path)) is CAUSAL
    with pytest.raises(ValueError, match="TypedHead"):
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path)


@pytest.mark.parametrize("kind", USERS)
def test_users_causal_class_has_its_labels_shifted_by_trainer(users, kind):
    names = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    assert users[kind][0].__name__ in names, "label smoothing would not shift the labels of this class"
