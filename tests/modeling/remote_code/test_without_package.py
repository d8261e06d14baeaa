"""Checkpoints load as the same model where the package is not installed (`trust_remote_code`), also in many processes
at once and after an interrupted load, and are saved again with their code."""

import pytest
from torch.nn import functional as F

from hf_tfm.modeling import modeling_tfm
from tests.grid import LANGUAGE_MODELS
from tests.modeling.remote_code.checkpoints import (
    CAUSAL,
    EMBEDDING_HEADS,
    HEADS,
    LANGUAGE_HEADS,
    LANGUAGE_MODEL_LOADS,
    LOADS,
    MAIN_LOADS,
    again,
    assert_complete,
    auto_classes_of,
    loaded_class,
)
from tests.modeling.remote_code.processes import (
    CONCURRENT_LOADS,
    INTERRUPTIONS,
    REMOTE_PACKAGE,
    assert_loaded,
    result_of,
)

# one pytest worker runs all tests of this folder: every other one would start its own readers
pytestmark = pytest.mark.xdist_group("remote_code")


@pytest.mark.parametrize(("name", "auto_class"), LOADS)
def test_remote_code_loads_the_same_model(first_readers, name, auto_class):
    assert_loaded(first_readers, loaded_class(name, auto_class), name, auto_class)


@pytest.mark.parametrize("name", LANGUAGE_HEADS)
def test_remote_code_loads_the_same_model_from_inside_the_folder(first_readers, name):
    assert_loaded(first_readers, name, name, "working directory")


@pytest.mark.parametrize("name", LANGUAGE_HEADS)
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
    assert_complete(again(root, name), HEADS[name][1])


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


# these models share AutoModel with the model without a head, which the table names
SHARING = [(name, auto) for name, auto in LOADS if auto == "AutoModel" and name == "TfmSeq2SeqEncoderModel"]


@pytest.mark.parametrize(
    ("name", "auto_class"), [load for load in LOADS if load[0] not in EMBEDDING_HEADS and load not in SHARING]
)
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
