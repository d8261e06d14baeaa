"""With the package, its own classes open checkpoints, whatever code they hold."""

import pytest
import transformers
from transformers import AutoConfig

import hf_tfm
from tests.grid import LANGUAGE_MODELS
from tests.modeling.remote_code.checkpoints import CAUSAL, HEADS, LOADS, assert_complete, loaded_class
from tests.modeling.remote_code.processes import assert_loaded, result_of

# one pytest worker runs all tests of this folder: every other one would start its own readers
pytestmark = pytest.mark.xdist_group("remote_code")


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
