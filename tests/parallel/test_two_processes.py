"""Models in two processes equal models in one: tensor parallelism, FSDP2 and pipeline parallelism."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hf_tfm.modeling.position import POSITIONS
from tests.grid import ids
from tests.modeling.test_extension_recipes import Kerple

from .process_group import LENGTH, MODELS, load, run_in_two_processes, save
from .two_process_checks import (
    check_fsdp_training,
    check_new_score_bias,
    check_pipeline,
    check_tensor_parallel,
    check_unsupported_models,
)

pytestmark = pytest.mark.xdist_group("two_processes")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("models")
    for name in MODELS:
        save(name, models)
    return models


def test_tensor_parallel_equals_one_process(folder):
    run_in_two_processes(check_tensor_parallel, folder, [name for name in MODELS if name != "one_key_value_head"])


def test_tensor_parallel_with_a_new_score_bias_equals_one_process(tmp_path, monkeypatch):
    monkeypatch.setitem(POSITIONS, "new", Kerple)
    monkeypatch.setitem(MODELS, "plain", ("decoder", {"position_type": "new"}))
    save("plain", tmp_path)
    run_in_two_processes(check_new_score_bias, tmp_path, "plain")


def test_fsdp_trains_as_one_process_and_saves_code_and_weights(folder):
    names = ["plain", "experts", "untied_learned_post", "encoder", "seq2seq", "seq2seq_rotary"]
    run_in_two_processes(check_fsdp_training, folder, names)
    for name in names:
        saved = folder / "trained" / name
        config = json.loads((saved / "config.json").read_text())
        code = {reference.split(".")[0] for reference in config["auto_map"].values()}
        assert all((saved / f"{module}.py").exists() for module in code), f"{name}: saved without its code"
        assert not list(saved.glob("_*")), f"{name}: saved with code of torch"


LOAD_WITHOUT_PACKAGE = """
import sys
sys.modules["hf_tfm"] = None  # not importable: the model must come from the checkpoint's own code
import torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
torch.save(model(torch.load(sys.argv[2])).logits, sys.argv[3])
"""


def test_fsdp_checkpoint_loads_without_the_package(folder, tmp_path):
    if not (folder / "trained" / "plain").exists():
        run_in_two_processes(check_fsdp_training, folder, ["plain"])
    tokens = ids(2, LENGTH)
    torch.save(tokens, tmp_path / "tokens")
    paths = [str(path) for path in (folder / "trained" / "plain", tmp_path / "tokens", tmp_path / "logits")]
    subprocess.run([sys.executable, "-c", LOAD_WITHOUT_PACKAGE, *paths], check=True, cwd=tmp_path)
    wanted = load("plain", folder / "trained").eval()(tokens).logits
    assert torch.allclose(torch.load(tmp_path / "logits"), wanted, atol=1e-6)


def test_pipeline_parallel_equals_one_process(folder):
    run_in_two_processes(check_pipeline, folder, ["plain", "alibi", "relative_bias", "experts", "sinks"])


def test_unsupported_models_are_refused(folder):
    run_in_two_processes(check_unsupported_models, folder)
