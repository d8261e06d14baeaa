"""BLOOM: ALiBi positions, a norm after the embeddings, and a fused matrix per head."""

from ..family import ConfigMapping, Family, same_names
from ..weight_map import rule
from ..weight_transforms import SPLIT_GROUPED_QKV
from .gpt2 import GPT_HEADS, QKV
from .llama import TOKEN_CLASSIFIER_BIAS

__all__ = ["BLOOM_BASE", "FAMILIES", "FOUR_TIMES_HIDDEN_SIZE"]

BLOOM_BASE = (
    rule("word_embeddings", "embed_tokens"),
    rule("h.{}.input_layernorm", "layers.{}.self_attn_residual.pre_norm"),
    rule("h.{}.post_attention_layernorm", "layers.{}.mlp_residual.pre_norm"),
    rule("h.{}.self_attention.query_key_value", QKV, SPLIT_GROUPED_QKV),
    rule("h.{}.self_attention.dense", "layers.{}.self_attn.o_proj"),
    rule("h.{}.mlp.dense_h_to_4h", "layers.{}.mlp.up_proj"),
    rule("h.{}.mlp.dense_4h_to_h", "layers.{}.mlp.down_proj"),
    rule("ln_f", "norm"),
)
FOUR_TIMES_HIDDEN_SIZE = ConfigMapping(lambda native: {"intermediate_size": 4 * native.hidden_size})

BLOOM = Family(
    name="bloom",
    our_model_type="tfm_decoder",
    recipe="bloom",
    base_weights=(*BLOOM_BASE, rule("word_embeddings_layernorm", "embed_norm")),
    head_weights=GPT_HEADS,
    head_fields=TOKEN_CLASSIFIER_BIAS,
    field_map={
        **same_names(
            "vocab_size", "hidden_size", "initializer_range", "hidden_dropout", "attention_dropout", "use_cache",
            "tie_word_embeddings",
        ),
        "n_layer": "num_hidden_layers", "n_head": "num_attention_heads", "layer_norm_epsilon": "norm_eps",
        "seq_length": "max_position_embeddings",
    },
    config_mappings=(FOUR_TIMES_HIDDEN_SIZE,),
    required_values={"apply_residual_connection_post_layernorm": False},
    ignored_fields=dict.fromkeys(("pretraining_tp", "slow_but_exact"), "changes only the order of sums"),
)  # fmt: skip

FAMILIES = (BLOOM,)
