"""Rotary parameters: those that a native class does not read have no effect, unsupported ones are refused."""

from typing import Any

import pytest
import torch
from transformers import AutoModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from hf_tfm.conversion import ConversionError, from_native
from tests.conversion.tiny import SIZES, TOKEN_IDS, VOCAB_SIZE, randomise

HALF = {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5}
BY_LAYER_TYPE = {"full_attention": HALF, "sliding_attention": HALF}
ROPE_PARAMETERS = {
    "llama": HALF, "cohere": HALF, "gpt_neox": HALF, "phi": HALF, "eurobert": HALF, "nomic_bert": HALF,
    "modernbert": BY_LAYER_TYPE, "olmo3": BY_LAYER_TYPE,
}  # fmt: skip


def make_native(family: str, rope: dict[str, Any]) -> Any:
    rope = {name: dict(value) if isinstance(value, dict) else value for name, value in rope.items()}
    config = CONFIG_MAPPING[family](**SIZES, **TOKEN_IDS, rope_parameters=rope)
    config._attn_implementation = "eager"
    return randomise(AutoModel.from_config(config))


@pytest.mark.parametrize("family", ROPE_PARAMETERS)
def test_a_partial_factor_has_an_effect_only_where_the_native_class_reads_it(family: str) -> None:
    native = make_native(family, ROPE_PARAMETERS[family])
    ids = torch.randint(3, VOCAB_SIZE, (2, 11), generator=torch.Generator().manual_seed(0))
    expected, found = (model(ids).last_hidden_state for model in (native, from_native(native)))
    assert ((expected - found).abs().max() / expected.abs().max()).item() <= 1e-5


@pytest.mark.parametrize("family", ["llama", "cohere", "gpt_neox", "eurobert"])
def test_rotary_parameters_by_layer_type_are_refused_where_there_are_no_types(family: str) -> None:
    with pytest.raises(ConversionError, match="rotary parameters by layer type"):
        from_native(make_native(family, BY_LAYER_TYPE))
