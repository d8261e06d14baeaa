"""GPT-NeoX: parallel attention and feed-forward, each after its own norm, and a fused matrix per head."""

from ...modeling.recipes import PLAIN_LAYER_NORM
from ..family import ConfigMapping, Family, same_names
from ..rope_and_window_mappings import PARTIAL_ROPE
from ..weight_map import rule
from ..weight_transforms import SPLIT_GROUPED_QKV
from .gpt2 import GPT_HEADS, NO_CLASSIFIER_BIAS, QKV
from .llama import ATTENTION_BIAS, TOKEN_CLASSIFIER_BIAS

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
        ConfigMapping(
            lambda native: {"hidden_dropout": native.hidden_dropout, "embedding_dropout": native.hidden_dropout},
            lambda ours: {"hidden_dropout": ours.hidden_dropout},
            ("hidden_dropout",),
        ),
        ConfigMapping(
            lambda native: {"residual_type": "parallel_two_norms" if native.use_parallel_residual else "pre"},
            lambda ours: {"use_parallel_residual": ours.residual_type != "pre"},
            ("use_parallel_residual",),
        ),
    ),
    ignored_fields={"is_decoder": "not read"},
)  # fmt: skip

FAMILIES = (GPT_NEOX,)
