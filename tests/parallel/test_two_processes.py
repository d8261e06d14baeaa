"""Models over two processes equal one process: split by heads, sharded by weights, staged by blocks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.grid import ids

from .jobs import refusals, sharded_trains_as_whole, split_equals_whole, staged_equals_whole
from .world import LENGTH, MODELS, load, run_in_two, save

pytestmark = pytest.mark.xdist_group("two_processes")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models")
    for name in MODELS:
        save(name, place)
    return place


def test_tensor_parallel(folder):
    run_in_two(split_equals_whole, folder, [name for name in MODELS if name != "one_key_value_head"])


def test_fsdp_trains_saves_and_loads_alone(folder):
    names = ["plain", "experts", "untied_learned_post", "encoder", "seq2seq", "seq2seq_rotary"]
    run_in_two(sharded_trains_as_whole, folder, names)
    for name in names:
        place = folder / "trained" / name
        config = json.loads((place / "config.json").read_text())
        code = {reference.split(".")[0] for reference in config["auto_map"].values()}
        assert all((place / f"{module}.py").exists() for module in code), f"{name}: saved without its code"
        assert not list(place.glob("_*")), f"{name}: saved with foreign code"


READER = """
import sys
sys.modules["hf_tfm"] = None  # not importable: only the code that travelled can help
import torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
torch.save(model(torch.load(sys.argv[2])).logits, sys.argv[3])
"""


def test_fsdp_save_is_opened_without_the_package(folder, tmp_path):
    if not (folder / "trained" / "plain").exists():
        run_in_two(sharded_trains_as_whole, folder, ["plain"])
    tokens = ids(2, LENGTH)
    torch.save(tokens, tmp_path / "tokens")
    place = folder / "trained" / "plain"
    line = [sys.executable, "-c", READER, str(place), str(tmp_path / "tokens"), str(tmp_path / "logits")]
    subprocess.run(line, check=True, cwd=tmp_path)
    here = load("plain", folder / "trained").eval()(tokens).logits
    assert torch.allclose(torch.load(tmp_path / "logits"), here, atol=1e-6)


def test_pipeline(folder):
    run_in_two(staged_equals_whole, folder, ["plain", "alibi", "relative_bias", "experts", "sinks"])


def test_refusals(folder):
    run_in_two(refusals, folder)
