"""Rotary parameters that a native class does not read are not read; those of layer types that it lacks are refused."""

from typing import Any

import pytest
import torch
from transformers import AutoModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from hf_tfm.conversion import ConversionError, from_native
from tests.conversion.tiny import IDS, VOCABULARY, randomise

SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "intermediate_size": 72, "max_position_embeddings": 64, **IDS,
}  # fmt: skip
HALF = {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5}
BY_TYPE = {"full_attention": HALF, "sliding_attention": HALF}
CASES = {
    "llama": HALF, "cohere": HALF, "gpt_neox": HALF, "phi": HALF, "eurobert": HALF, "nomic_bert": HALF,
    "modernbert": BY_TYPE, "olmo3": BY_TYPE,
}  # fmt: skip


def native(family: str, rope: dict[str, Any]) -> Any:
    rope = {name: dict(value) if isinstance(value, dict) else value for name, value in rope.items()}
    config = CONFIG_MAPPING[family](**SIZES, rope_parameters=rope)
    config._attn_implementation = "eager"
    return randomise(AutoModel.from_config(config))


@pytest.mark.parametrize("family", CASES)
def test_a_part_of_each_head_rotates_only_where_the_native_class_says_so(family: str) -> None:
    model = native(family, CASES[family])
    words = torch.randint(3, VOCABULARY, (2, 11), generator=torch.Generator().manual_seed(0))
    theirs, mine = (m(words).last_hidden_state for m in (model, from_native(model)))
    assert ((theirs - mine).abs().max() / theirs.abs().max()).item() <= 1e-5


@pytest.mark.parametrize("family", ["llama", "cohere", "gpt_neox", "eurobert"])
def test_rotary_parameters_by_layer_type_are_refused_where_there_are_no_types(family: str) -> None:
    with pytest.raises(ConversionError, match="rotary parameters by layer type"):
        from_native(native(family, BY_TYPE))
