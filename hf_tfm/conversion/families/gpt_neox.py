"""GPT-NeoX (parallel attention and feed-forward, each after its own norm), GPT-NeoX Japanese and Persimmon (one after
the other): a fused matrix per head."""

import dataclasses

from ...modeling.recipes import PLAIN_LAYER_NORM
from ..family import ConfigMapping, Family, same_names, without
from ..rope_and_window_mappings import PARTIAL_ROPE
from ..weight_map import rule
from ..weight_transforms import CREATE_ZEROS, SPLIT_GROUPED_QKV
from .gpt2 import GPT_HEADS, NO_CLASSIFIER_BIAS, QKV
from .llama import ATTENTION_BIAS, DECODER_HEADS, EMBEDDING, TOKEN_CLASSIFIER_BIAS
from .opt import dropout_mapping
from .stablelm import qk_norm_mapping

__all__ = ["FAMILIES"]

GPT_NEOX = Family(
    name="gpt_neox",
    our_model_type="tfm_decoder",
    fixed_fields={**PLAIN_LAYER_NORM, **NO_CLASSIFIER_BIAS, "position_type": "rotary"},
    base_weights=(
        rule("embed_in", "embed_tokens"),
        rule("layers.{}.input_layernorm", "layers.{}.self_attn_residual.pre_norm"),
        rule("layers.{}.post_attention_layernorm", "layers.{}.mlp_residual.pre_norm"),
        rule("layers.{}.attention.query_key_value", QKV, SPLIT_GROUPED_QKV),
        rule("layers.{}.attention.dense", "layers.{}.self_attn.o_proj"),
        rule("layers.{}.mlp.dense_h_to_4h", "layers.{}.mlp.up_proj"),
        rule("layers.{}.mlp.dense_4h_to_h", "layers.{}.mlp.down_proj"),
        rule("final_layer_norm", "norm"),
    ),
    head_weights=GPT_HEADS,
    head_fields=TOKEN_CLASSIFIER_BIAS,
    field_map={
        **same_names(
            "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
            "hidden_act", "attention_dropout", "classifier_dropout", "max_position_embeddings",
            "initializer_range", "use_cache", "tie_word_embeddings",
        ),
        "layer_norm_eps": "norm_eps",
    },
    config_mappings=(
        ATTENTION_BIAS,
        PARTIAL_ROPE,
        dropout_mapping("hidden_dropout"),
        ConfigMapping(
            lambda native: {"residual_type": "parallel_two_norms" if native.use_parallel_residual else "pre"},
            lambda ours: {"use_parallel_residual": ours.residual_type != "pre"},
            ("use_parallel_residual",),
        ),
    ),
    ignored_fields={"is_decoder": "not read"},
)  # fmt: skip

# only the attention of the last layer has a bias
GPT_NEOX_JAPANESE = dataclasses.replace(
    GPT_NEOX,
    name="gpt_neox_japanese",
    fixed_fields={**GPT_NEOX.fixed_fields, "residual_type": "pre", "qkv_bias": False, "mlp_bias": False},
    base_weights=(
        *GPT_NEOX.base_weights,
        rule("layers.{}.attention.dense_bias", "layers.{}.self_attn.o_proj.bias"),
        rule((), "layers.{}.self_attn.o_proj.bias", CREATE_ZEROS),
    ),
    head_weights={"base": (), "causal-lm": (rule("embed_out", "lm_head"),)},
    field_map=without(GPT_NEOX.field_map, "intermediate_size", "classifier_dropout"),
    config_mappings=(
        PARTIAL_ROPE,
        dropout_mapping("hidden_dropout"),
        ConfigMapping(
            lambda native: {"intermediate_size": native.hidden_size * native.intermediate_multiple_size},
            lambda ours: {"intermediate_multiple_size": ours.intermediate_size // ours.hidden_size},
            ("intermediate_multiple_size",),
        ),
    ),
)

PERSIMMON = dataclasses.replace(
    GPT_NEOX,
    name="persimmon",
    fixed_fields={**GPT_NEOX.fixed_fields, "residual_type": "pre"},
    base_weights=(
        EMBEDDING,
        rule("layers.{}.self_attn.query_key_value", QKV, SPLIT_GROUPED_QKV),
        rule("layers.{}.self_attn.dense", "layers.{}.self_attn.o_proj"),
        *(rule(f"layers.{{}}.self_attn.{x}_layernorm", f"layers.{{}}.self_attn.{x}_norm") for x in "qk"),
        rule("final_layernorm", "norm"),
        *GPT_NEOX.base_weights,
    ),
    head_weights=without(DECODER_HEADS, "question-answering"),
    field_map={**without(GPT_NEOX.field_map, "classifier_dropout"), "hidden_dropout": "hidden_dropout"},
    config_mappings=(PARTIAL_ROPE, qk_norm_mapping("qk_layernorm", "head")),
    ignored_fields={},
)

FAMILIES = (GPT_NEOX, GPT_NEOX_JAPANESE, PERSIMMON)
