"""GPT-like decoders: what is refused, and what parity does not show."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from hf_tfm import TfmDecoderConfig, TfmDecoderForCausalLM
from hf_tfm.conversion import ConversionError, from_native, to_native
from hf_tfm.conversion.convert import equivalent_native_config
from hf_tfm.conversion.families.gptj import rotary_dim_to_ours
from hf_tfm.conversion.registry import FAMILIES
from hf_tfm.conversion.weight_transforms import rotary_size
from tests.conversion.families.cases_gpt_like import CASES
from tests.conversion.tiny import SIZES, tiny_native

UNSUPPORTED_FIELDS: dict[str, list[dict[str, Any]]] = {
    "gpt2": [{"add_cross_attention": True}, {"scale_attn_by_inverse_layer_idx": True}],
    "opt": [{"word_embed_proj_dim": 20}, {"_remove_final_layer_norm": True}, {"layer_norm_elementwise_affine": False}],
    "bloom": [{"apply_residual_connection_post_layernorm": True}],
    "mpt": [{"attn_config": {name: value}} for name, value in {"clip_qkv": 6.0, "alibi_bias_max": 16}.items()],
    "falcon": [{"alibi": True}],
    "olmo": [{"clip_qkv": 8.0}],
    "xglm": [{"pad_token_id": 5}],
}


@pytest.mark.parametrize(
    ("family", "fields"),
    [(family, fields) for family, unsupported in UNSUPPORTED_FIELDS.items() for fields in unsupported],
)
def test_unsupported_values_are_refused_by_name(family: str, fields: dict[str, Any]) -> None:
    case = CASES[family][0]
    native = CONFIG_MAPPING[family](**case.token_ids | case.fields | fields)
    (name, value), *_ = fields.items()
    with pytest.raises(ConversionError, match=next(iter(value)) if isinstance(value, dict) else name):
        FAMILIES[family].config_to_ours(native, "causal-lm", {})


def test_every_rotary_dim_survives_the_round_trip() -> None:
    for head_dim in range(2, 257, 2):
        for rotary_dim in range(2, head_dim + 1, 2):
            fields = rotary_dim_to_ours(SimpleNamespace(n_embd=head_dim, n_head=1, rotary_dim=rotary_dim))
            assert rotary_size(SimpleNamespace(head_dim=head_dim, **fields)) == rotary_dim


def test_trained_norms_do_not_become_norms_without_weights() -> None:
    ours = from_native(tiny_native("olmo", CASES["olmo"][0], "base"))
    to_native(ours)
    with torch.no_grad():
        ours.norm.weight[3] = 1.5
    with pytest.raises(ConversionError, match="not all 1"):
        to_native(ours)


def test_a_window_in_one_layer_only_is_refused() -> None:
    layer_types = ["full_attention", "sliding_attention", "full_attention"]
    rope = {kind: {"rope_type": "default", "rope_theta": 100.0} for kind in layer_types}
    config = TfmDecoderConfig(**SIZES, sliding_window=5, layer_types=layer_types, rope_parameters=rope)
    for family in CASES:
        with pytest.raises(ConversionError):
            equivalent_native_config(FAMILIES[family], config, "causal-lm")


def test_grouped_parallel_attention_is_the_new_falcon() -> None:
    fields = {"norm_type": "layer_norm", "norm_eps": 1e-5, "mlp_type": "plain", "hidden_act": "gelu"}
    config = TfmDecoderConfig(**SIZES, **fields, num_key_value_heads=2, residual_type="parallel")
    native = to_native(TfmDecoderForCausalLM(config), "falcon").config
    assert (native.new_decoder_architecture, native.num_ln_in_parallel_attn, native.num_kv_heads) == (True, 1, 2)
