"""A tiny checkpoint with code of its own, and one way to break it for every check."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

CONFIGURATION = """
from transformers import LlamaConfig

class TinyConfig(LlamaConfig):
    model_type = "tiny"

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
"""
MODELING = """
import torch
from transformers import LlamaForCausalLM
from .configuration_tiny import TinyConfig
from .parts import Gain

class TinyForCausalLM(LlamaForCausalLM):
    config_class = TinyConfig
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config):
        super().__init__(config)
        self.gain = Gain()
        self.post_init()

    def _init_weights(self, module):
        super()._init_weights(module)

    def forward(self, *args, **kwargs):
        return super().forward(*args, **kwargs)
"""
PARTS = """
import torch
from torch import nn

class Gain(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
"""
SIZES = {
    "vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "tie_word_embeddings": True, "pad_token_id": 0,
    # large: attention shows in the outputs
    "initializer_range": 0.5,
}  # fmt: skip
FILES = {"configuration_tiny.py": CONFIGURATION, "modeling_tiny.py": MODELING, "parts.py": PARTS}


def write_native(folder: Path) -> Path:
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**SIZES)).save_pretrained(folder)
    return folder


def write_healthy(folder: Path) -> Path:
    """A checkpoint with code of its own that has no fault."""
    write_native(folder)
    weights = load_file(folder / "model.safetensors")
    weights["gain.weight"] = weights["model.norm.weight"][:3] * 2
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    auto_map = {"AutoConfig": "configuration_tiny.TinyConfig", "AutoModelForCausalLM": "modeling_tiny.TinyForCausalLM"}
    change_config(folder, model_type="tiny", architectures=["TinyForCausalLM"], auto_map=auto_map)
    return folder


def change_config(folder: Path, **fields: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields, indent=1), encoding="utf-8")


def change_code(name: str, old: str, new: str) -> Callable[[Path], None]:
    """A fault that replaces a part of a file."""

    def fault(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")

    return fault


FORWARD = "    def forward(self, *args, **kwargs):\n"
BUFFER = '        self.register_buffer("table", torch.arange(3.0), persistent=False)\n'
AFTER_GAIN = "        self.weight = nn.Parameter(torch.ones(3))\n"


def cut_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def rename_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["norm.scale"] = weights.pop("model.norm.weight")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def name_other_repository(folder: Path) -> None:
    change_config(folder, auto_map={"AutoModelForCausalLM": "someone/code--modeling_tiny.TinyForCausalLM"})


def take_native_name(folder: Path) -> None:
    change_code("configuration_tiny.py", '"tiny"', '"llama"')(folder)
    change_config(folder, model_type="llama")


def write_over_loaded_weights(folder: Path) -> None:
    change_code("parts.py", AFTER_GAIN, AFTER_GAIN + BUFFER)(folder)
    change_code(
        "modeling_tiny.py",
        "        super()._init_weights(module)\n",
        "        super()._init_weights(module)\n"
        '        if hasattr(module, "table"):\n'
        "            module.weight.data.normal_()\n"
        "            module.table.copy_(torch.arange(3.0))\n",
    )(folder)


# What is broken -> (checks that name it, how to break it, a word of the line).
FAULTS: dict[str, tuple[set[str], Callable[[Path], None], str]] = {
    "weights cut short": ({"files", "load offline"}, cut_weights, "cut short"),
    "file of code missing": ({"code", "load offline"}, lambda folder: (folder / "parts.py").unlink(), "parts.py"),
    "code in another repository": ({"code", "load offline"}, name_other_repository, "someone/code"),
    "class that does not exist": (
        {"code", "load offline"}, change_code("modeling_tiny.py", "class Tiny", "class Tyni"), "no TinyForCausalLM",
    ),
    "package that is not installed": (
        {"imports", "load offline"}, change_code("parts.py", "import torch\n", "import torch\nimport no_such\n"),
        "pip install no_such",
    ),
    "name of an older transformers": (
        {"imports", "load offline"},
        change_code("parts.py", "import torch\n", "import torch\nfrom transformers import AdamW\n"), "AdamW",
    ),
    "list of ties": (
        {"imports", "load offline"},
        change_code("modeling_tiny.py", '{"lm_head.weight": "model.embed_tokens.weight"}', '["lm_head.weight"]'),
        "_tied_weights_keys",
    ),
    "model type of another model": ({"model type"}, take_native_name, "llama"),
    "error in the code": (
        {"load offline"}, change_code("modeling_tiny.py", "Gain()\n", 'Gain()\n        raise KeyError("oh")\n'), "oh",
    ),
    "weight under another name": ({"weights"}, rename_weight, "model.norm.weight"),
    "weights initialised again": ({"values"}, write_over_loaded_weights, "gain.weight"),
    "embeddings not tied": (
        {"ties", "weights"},
        change_code("modeling_tiny.py", '{"lm_head.weight": "model.embed_tokens.weight"}', "{}"), "two weights",
    ),
    "dtype that the files do not have": (
        {"dtype"}, lambda folder: change_config(folder, dtype="bfloat16"), "correct dtype",
    ),
    "float32 inside of forward": (
        {"dtype"},
        change_code(
            "modeling_tiny.py", "        return super().forward(*args, **kwargs)",
            "        outputs = super().forward(*args, **kwargs)\n"
            "        outputs.logits = outputs.logits @ torch.eye(outputs.logits.shape[-1])\n"
            "        return outputs",
        ),
        "compute in bfloat16",
    ),
    "buffer of __init__": ({"buffers"}, change_code("parts.py", AFTER_GAIN, AFTER_GAIN + BUFFER), "gain.table"),
    "field that grows": (
        {"save"},
        change_code(
            "configuration_tiny.py", "        super().__post_init__(**kwargs)\n",
            "        super().__post_init__(**kwargs)\n        self.rms_norm_eps *= 2\n",
        ),
        "rms_norm_eps",
    ),
    "count of labels ignored": (
        {"accumulation"},
        change_code("modeling_tiny.py", FORWARD, FORWARD.replace("**", "num_items_in_batch=None, **")), "ignores it",
    ),
    "count of labels not taken": (
        {"accumulation"},
        change_code(
            "modeling_tiny.py", FORWARD.replace("    def", "def") + "        return super().forward(*args, **kwargs)",
            "def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None,\n"
            "                labels=None, use_cache=None, return_dict=None, inputs_embeds=None, logits_to_keep=0):\n"
            "        return super().forward(input_ids, attention_mask, position_ids, past_key_values, inputs_embeds,\n"
            "                               labels, use_cache, logits_to_keep)",
        ),
        "does not take",
    ),
    "positions that begin again": (
        {"cache", "padding"},
        change_code(
            "modeling_tiny.py", FORWARD,
            FORWARD + '        ids = kwargs["input_ids"]\n'
            '        kwargs["position_ids"] = torch.arange(ids.shape[1])[None].expand_as(ids)\n',
        ),
        "with a cache",
    ),
    "mask ignored": (
        {"padding"}, change_code("modeling_tiny.py", FORWARD, FORWARD + '        kwargs["attention_mask"] = None\n'),
        "on the left",
    ),
}  # fmt: skip
