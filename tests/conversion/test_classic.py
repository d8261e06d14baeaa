"""What classic decoders cannot say, and what parity cannot show of them."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from hf_tfm import TfmDecoderConfig, TfmDecoderForCausalLM
from hf_tfm.conversion import from_native, to_native
from hf_tfm.conversion.convert import native_config
from hf_tfm.conversion.families import FAMILIES
from hf_tfm.conversion.gptj import rope_parameters
from hf_tfm.conversion.rows import ConversionError, rotated
from tests.conversion.cases_classic import CASES, SIZES
from tests.conversion.tiny import tiny_native

REFUSED: dict[str, list[dict[str, Any]]] = {
    "gpt2": [{"add_cross_attention": True}, {"scale_attn_by_inverse_layer_idx": True}],
    "opt": [{"word_embed_proj_dim": 20}, {"_remove_final_layer_norm": True}, {"layer_norm_elementwise_affine": False}],
    "bloom": [{"apply_residual_connection_post_layernorm": True}],
    "mpt": [{"attn_config": {name: value}} for name, value in {"clip_qkv": 6.0, "alibi_bias_max": 16}.items()],
    "falcon": [{"alibi": True}],
    "olmo": [{"clip_qkv": 8.0}],
    "xglm": [{"pad_token_id": 5}],
}


@pytest.mark.parametrize(("family", "fields"), [(name, fields) for name, rows in REFUSED.items() for fields in rows])
def test_what_the_block_cannot_say_is_refused_by_name(family: str, fields: dict[str, Any]) -> None:
    case = CASES[family][0]
    native = CONFIG_MAPPING[family](**case.ids | case.fields | fields)
    (name, value), *_ = fields.items()
    with pytest.raises(ConversionError, match=next(iter(value)) if isinstance(value, dict) else name):
        FAMILIES[family].our_config(native, "causal-lm", {})


def test_every_number_of_rotating_elements_comes_back() -> None:
    for width in range(2, 257, 2):
        for part in range(2, width + 1, 2):
            words = rope_parameters(SimpleNamespace(n_embd=width, n_head=1, rotary_dim=part))
            assert rotated(SimpleNamespace(head_dim=width, **words)) == part


def test_trained_norms_do_not_become_norms_without_weights() -> None:
    ours = from_native(tiny_native("olmo", CASES["olmo"][0], "base"))
    to_native(ours)
    with torch.no_grad():
        ours.norm.weight[3] = 1.5
    with pytest.raises(ConversionError, match="not all ones"):
        to_native(ours)


def test_a_window_in_one_layer_alone_is_refused() -> None:
    kinds = ["full_attention", "sliding_attention", "full_attention"]
    rope = {kind: {"rope_type": "default", "rope_theta": 100.0} for kind in kinds}
    config = TfmDecoderConfig(**SIZES, sliding_window=5, layer_types=kinds, rope_parameters=rope)
    for family in CASES:
        with pytest.raises(ConversionError):
            native_config(FAMILIES[family], config, "causal-lm")


def test_grouped_parallel_attention_is_the_new_falcon() -> None:
    words = {"norm_type": "layer_norm", "norm_eps": 1e-5, "mlp_type": "plain", "hidden_act": "gelu"}
    config = TfmDecoderConfig(**SIZES, **words, num_key_value_heads=2, residual_type="parallel")
    native = to_native(TfmDecoderForCausalLM(config), "falcon").config
    assert (native.new_decoder_architecture, native.num_ln_in_parallel_attn, native.num_kv_heads) == (True, 1, 2)
