"""No code of a checkpoint runs unless the user says trust_remote_code=True, whatever opens it."""

import contextlib
import json
import sys
from pathlib import Path
from pickle import UnpicklingError

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoTokenizer, LlamaConfig, LlamaForCausalLM, pipeline

import hf_tfm
import train
from hf_tfm import cli, from_native
from tests.grid import make

HOSTILE = """
from pathlib import Path
Path({marker!r}).touch()
class Hostile: pass
"""
AUTO_CLASSES = [name for name in dir(transformers) if name.startswith("AutoModel") and hasattr(transformers, name)]


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "code_has_run"


def make_hostile(folder, marker):
    """Give a checkpoint code that touches `marker` wherever transformers looks for code."""
    code = HOSTILE.format(marker=str(marker))
    for name in ("hostile.py", "configuration_tfm.py", "modeling_tfm_decoder.py", "__init__.py"):
        (folder / name).write_text(code, encoding="utf-8")
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(code, encoding="utf-8")
    auto_map = dict.fromkeys(["AutoConfig", "AutoProcessor", *AUTO_CLASSES], "hostile.Hostile")
    settings = {"auto_map": auto_map | {"AutoTokenizer": [None, "hostile.Hostile"]}}
    for name in ("config.json", "tokenizer_config.json", "generation_config.json", "processor_config.json"):
        file = folder / name
        content = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(content | (settings if name != "generation_config.json" else {})), encoding="utf-8")
    return str(folder)


@pytest.fixture
def ours(tmp_path, marker):
    make("decoder").save_pretrained(tmp_path / "ours")
    return make_hostile(tmp_path / "ours", marker)


@pytest.fixture
def native(tmp_path, marker):
    config = LlamaConfig(vocab_size=60, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "native")
    return make_hostile(tmp_path / "native", marker)


@pytest.fixture(autouse=True)
def no_answers(monkeypatch):
    # nobody answers the question whether the code may run
    monkeypatch.setattr(transformers.dynamic_module_utils, "TIME_OUT_REMOTE_CODE", 0)


def opened(function, *arguments, **options):
    """True, or the error: the class in the hostile code is no model."""
    try:
        function(*arguments, **options)
    except (AttributeError, OSError, ValueError, UnpicklingError) as error:
        return str(error)
    return True


OPENERS = {
    "configuration": AutoConfig.from_pretrained,
    "tokenizer": AutoTokenizer.from_pretrained,
    "processor": transformers.AutoProcessor.from_pretrained,
    "pipeline": lambda folder, **options: pipeline("text-generation", folder, **options),
    "from_native": lambda folder, **options: from_native(folder),
    "class": lambda folder, **options: hf_tfm.TfmDecoderForCausalLM.from_pretrained(folder, **options),
    "custom_generate": lambda folder, **options: make("decoder").generate(custom_generate=folder, **options),
} | {name: getattr(transformers, name).from_pretrained for name in ("AutoModel", "AutoModelForCausalLM")}


@pytest.mark.parametrize("options", [{}, {"trust_remote_code": False}], ids=["unset", "untrusted"])
@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("checkpoint", ["ours", "native"])
def test_no_code_of_a_checkpoint_runs_without_trust(request, marker, checkpoint, opener, options):
    folder = request.getfixturevalue(checkpoint)
    found = opened(OPENERS[opener], folder, **options)
    assert not marker.exists(), f"{opener} of {checkpoint} ran the checkpoint's code ({found})"


def test_hostile_code_would_run_with_trust(ours, marker):
    opened(transformers.AutoModelForCausalLM.from_pretrained, ours, trust_remote_code=True)
    assert marker.exists(), "the tests above cannot fail"


class Touch:
    """Unpickled, it touches a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def index_of(name):
    return {"metadata": {}, "weight_map": dict.fromkeys(make("decoder").state_dict(), name)}


# the file with a pickle -> JSON files that lead to it, and their contents
PICKLES = {
    "pytorch_model.bin": {},
    "pytorch_model-00001-of-00001.bin": {"pytorch_model.bin.index.json": index_of("pytorch_model-00001-of-00001.bin")},
    "shard.bin": {"model.safetensors.index.json": index_of("shard.bin")},
    "named_by_config.bin": {"config.json": {"transformers_weights": "named_by_config.bin"}},
    "adapter_model.bin": {"adapter_config.json": {"peft_type": "LORA", "target_modules": ["q_proj"], "r": 2}},
}


def make_pickled(folder, name, marker):
    """A checkpoint of ours whose weights are a pickle that touches `marker`; beside an adapter, they are not."""
    make("decoder").save_pretrained(folder)
    if not name.startswith("adapter"):
        (folder / "model.safetensors").unlink()
    torch.save({**make("decoder").state_dict(), "hostile": Touch(marker)}, folder / name)
    for file, fields in PICKLES[name].items():
        given = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
        (folder / file).write_text(json.dumps(given | fields))
    return str(folder)


@pytest.mark.parametrize("opener", ["AutoModel", "class", "pipeline"])
@pytest.mark.parametrize("name", PICKLES)
def test_no_pickled_weights_of_a_checkpoint_run_code(tmp_path, marker, name, opener):
    # transformers unpickles tensors only (weights_only=True), and nothing that config.json or an adapter names
    folder = make_pickled(tmp_path / "ours", name, marker)
    found = opened(OPENERS[opener], folder)
    assert not marker.exists(), f"{opener} ran the pickle ({found})"
    assert found is not True, "the checkpoint opened without its weights"


def test_hostile_pickles_would_run_when_trusted(tmp_path, marker):
    make_pickled(tmp_path / "ours", "pytorch_model.bin", marker)
    torch.load(tmp_path / "ours" / "pytorch_model.bin", weights_only=False)
    assert marker.exists(), "the tests above cannot fail"


CONVERT = ["convert", "{folder}", "out"]
COMMANDS = {
    "convert ours": ("ours", cli.main, CONVERT),
    "convert native": ("native", cli.main, CONVERT),
    "convert ours to native": ("ours", cli.main, [*CONVERT, "--to", "native"]),
    "train": (
        "ours",
        train.main,
        ["--task", "causal-lm", "--init_from", "{folder}", "--train_file", "rows.txt", "--sample_by", "line"],
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_run_no_code_of_a_checkpoint(request, monkeypatch, capsys, tmp_path, marker, name):
    checkpoint, main, words = COMMANDS[name]
    folder = request.getfixturevalue(checkpoint)
    monkeypatch.setattr(sys, "argv", ["command", *(word.format(folder=folder) for word in words)])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.txt").write_text("".join(f"text {n}\n" for n in range(300)), encoding="utf-8")
    with contextlib.suppress(OSError, SystemExit, ValueError):
        main()
    assert name != "train" or "trust_remote_code" in capsys.readouterr().err, "train.py did not reach the checkpoint"
    assert not marker.exists(), "the command ran the checkpoint's code"
