"""Classes that users derive are saved with their own file, and are never replaced by ours."""

import pytest
import transformers
from transformers.models.auto import modeling_auto

from tests.modeling.remote_code.checkpoints import CAUSAL, USER_HEADS, assert_nothing_stale, auto_map_of
from tests.modeling.remote_code.processes import assert_loaded, result_of

# one pytest worker runs all tests of this folder: every other one would start its own readers
pytestmark = pytest.mark.xdist_group("remote_code")


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
