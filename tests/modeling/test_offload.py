"""Weights on disk: every model gives the same outputs where accelerate brings each module's weights for its forward."""

import re
from pathlib import Path

import pytest
import torch

import hf_tfm.modeling
from tests.grid import assert_same
from tests.modeling.test_heads import NATIVE, architecture_of, inputs_of, make_head

# bytes, fewer than one block has
ROOM = {"cpu": 2_000}
FIELDS = {
    "tables": {
        "position_type": "learned",
        "embedding_size": 16,
        "embedding_norm": "before_positions",
        "lm_head_type": "transform",
        "classifier_dense": "all",
        "classifier_norm": True,
        "type_vocab_size": 2,
        "qk_norm": "width",
        "norm_type": "layer_norm",
    },
    "experts": {
        "position_type": "relative_bias",
        "mlp_type": "moe",
        "num_experts": 4,
        "shared_expert_intermediate_size": 8,
        "attention_sinks": True,
        "tie_word_embeddings": False,
        "lm_head_bias": True,
        "qk_norm": "heads",
        "embedding_scale": 2.0,
    },
}


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
@pytest.mark.parametrize("name", NATIVE)
def test_outputs_with_weights_on_disk_are_those_in_memory(name, fields, tmp_path):
    if architecture_of(name) != "encoder":
        fields = {key: value for key, value in fields.items() if key != "type_vocab_size"}
    model = make_head(name, **fields)
    model.save_pretrained(tmp_path / "model")
    spread = {"device_map": "auto", "max_memory": ROOM, "offload_folder": tmp_path / "weights"}
    offloaded = type(model).from_pretrained(tmp_path / "model", **spread).eval()
    assert "disk" in offloaded.hf_device_map.values()
    batch = inputs_of(name)
    calls = [batch]
    if hasattr(model, "lm_head"):
        calls.append({**batch, "fused_loss": True})
    for call in calls:
        with torch.no_grad():
            wanted, found = model(**call), offloaded(**call)
        for key in ("loss", "logits", "start_logits", "last_hidden_state", "pooler_output"):
            if wanted.get(key) is not None:
                assert_same(found[key], wanted[key], what=key)


def test_no_code_reads_a_weight_of_a_submodule_outside_its_forward():
    # hooks bring weights at the submodule's call; read as an attribute, they are not there (or not whole, if sharded)
    reads = re.compile(r"self\.\w+(\.\w+|\[.+?\])*\.(weight|bias)\b(?!\()")
    found = [
        f"{file.name}:{number}: {line.strip()}"
        for file in sorted(Path(hf_tfm.modeling.__file__).parent.glob("*.py"))
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if reads.search(line)
    ]
    assert not found, found
