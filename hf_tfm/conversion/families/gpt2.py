"""GPT-2, GPT-Neo and GPT-BigCode."""

from typing import Any

from ...modeling.recipes import PLAIN_LAYER_NORM
from ..family import ConfigMapping, Family, same_names, without
from ..weight_map import rule
from ..weight_transforms import SPLIT_GROUPED_QKV, SPLIT_QKV, TRANSPOSE, compose
from .llama import LM_HEAD, TOKEN_CLASSIFIER_BIAS

__all__ = [
    "FAMILIES", "GPT_FIELDS", "GPT_HEADS", "INNER_SIZE", "NO_CLASSIFIER_BIAS", "QKV",
    "bias_mapping",
]  # fmt: skip

QKV = ("layers.{}.self_attn.q_proj", "layers.{}.self_attn.k_proj", "layers.{}.self_attn.v_proj")

# Head classes that a family defines itself; `DECODER_HEADS` of llama.py are the generic ones.
GPT_HEADS = {
    "base": (),
    "causal-lm": LM_HEAD,
    "sequence-classification": (rule("score", "classifier"),),
    "token-classification": (rule("classifier", "classifier"),),
    "question-answering": (rule("qa_outputs", "qa_outputs"),),
}
NO_CLASSIFIER_BIAS = {"classifier_bias": False}

# fields of configurations that call the hidden size n_embd
GPT_FIELDS = {
    "vocab_size": "vocab_size", "n_embd": "hidden_size", "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads", "n_positions": "max_position_embeddings", "activation_function": "hidden_act",
    "layer_norm_epsilon": "norm_eps", "initializer_range": "initializer_range", "embd_pdrop": "embedding_dropout",
    "attn_pdrop": "attention_dropout", "resid_pdrop": "hidden_dropout", "use_cache": "use_cache",
    "tie_word_embeddings": "tie_word_embeddings",
}  # fmt: skip
INNER_SIZE = ConfigMapping(
    lambda native: {"intermediate_size": native.n_inner or 4 * native.n_embd},
    lambda ours: {"n_inner": ours.intermediate_size},
    ("n_inner",),
)
ATTENTION_SCALE = ConfigMapping(
    lambda native: {"attention_scale": None if native.scale_attn_weights else 1.0},
    lambda ours: {"scale_attn_weights": ours.attention_scale is None},
    ("scale_attn_weights",),
)


def bias_mapping(native_field: str) -> ConfigMapping:
    """One native flag for the biases of all linear layers in a block."""
    return ConfigMapping(
        lambda native: dict.fromkeys(("qkv_bias", "out_bias", "mlp_bias"), getattr(native, native_field)),
        lambda ours: {native_field: ours.qkv_bias},
        (native_field,),
    )


GPT2 = Family(
    name="gpt2",
    our_model_type="tfm_decoder",
    recipe="gpt2",
    base_weights=(
        rule("wte", "embed_tokens"),
        rule("wpe", "position.embedding"),
        rule("h.{}.ln_1", "layers.{}.self_attn_residual.pre_norm"),
        rule("h.{}.attn.c_attn", QKV, compose(TRANSPOSE, SPLIT_QKV)),
        rule("h.{}.attn.c_proj", "layers.{}.self_attn.o_proj", TRANSPOSE),
        rule("h.{}.ln_2", "layers.{}.mlp_residual.pre_norm"),
        rule("h.{}.mlp.c_fc", "layers.{}.mlp.up_proj", TRANSPOSE),
        rule("h.{}.mlp.c_proj", "layers.{}.mlp.down_proj", TRANSPOSE),
        rule("ln_f", "norm"),
    ),
    head_weights=GPT_HEADS,
    head_fields=TOKEN_CLASSIFIER_BIAS,
    field_map={**GPT_FIELDS, "classifier_dropout": "classifier_dropout"},
    config_mappings=(INNER_SIZE, ATTENTION_SCALE),
    required_values={"add_cross_attention": False, "scale_attn_by_inverse_layer_idx": False},
    ignored_fields={
        "reorder_and_upcast_attn": "changes only the precision of attention scores in half precision",
        **dict.fromkeys(
            (
                "summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels",
                "summary_first_dropout",
            ),
            "only for GPT2DoubleHeadsModel",
        ),
    },
)  # fmt: skip

# The matrices are linear layers. The key and value of the single group follow all queries (multi-query), or each head
# has its key and value after its query.
GPT_BIGCODE = Family(
    name="gpt_bigcode",
    our_model_type="tfm_decoder",
    fixed_fields={**PLAIN_LAYER_NORM, **NO_CLASSIFIER_BIAS, "position_type": "learned"},
    base_weights=(
        rule("wte", "embed_tokens"),
        rule("wpe", "position.embedding"),
        rule("h.{}.ln_1", "layers.{}.self_attn_residual.pre_norm"),
        rule("h.{}.attn.c_attn", QKV, SPLIT_GROUPED_QKV),
        rule("h.{}.attn.c_proj", "layers.{}.self_attn.o_proj"),
        rule("h.{}.ln_2", "layers.{}.mlp_residual.pre_norm"),
        rule("h.{}.mlp.c_fc", "layers.{}.mlp.up_proj"),
        rule("h.{}.mlp.c_proj", "layers.{}.mlp.down_proj"),
        rule("ln_f", "norm"),
    ),
    head_weights=without(GPT_HEADS, "question-answering"),
    head_fields=TOKEN_CLASSIFIER_BIAS,
    field_map=GPT_FIELDS,
    config_mappings=(
        INNER_SIZE,
        ATTENTION_SCALE,
        ConfigMapping(
            lambda native: {"num_key_value_heads": 1 if native.multi_query else native.n_head},
            lambda ours: {"multi_query": ours.num_key_value_heads == 1},
            ("multi_query",),
        ),
    ),
    required_values={"add_cross_attention": False},
    ignored_fields=dict.fromkeys(("attention_softmax_in_fp32", "scale_attention_softmax_in_fp32"), "no longer read"),
)

# GPT-Neo's layer type -> ours
LAYER_TYPES = {"global": "full_attention", "local": "sliding_attention"}


def attention_types_to_ours(native: Any) -> dict[str, Any]:
    return {
        "layer_types": [LAYER_TYPES[kind] for kind in native.attention_layers],
        "sliding_window": native.window_size,
    }


def attention_types_to_native(ours: Any) -> dict[str, Any]:
    native_types = {ours: native for native, ours in LAYER_TYPES.items()}
    fields: dict[str, Any] = {"attention_types": [[[native_types[kind] for kind in ours.layer_types], 1]]}
    # without local layers the window has no effect, but must be a number
    if ours.sliding_window:
        fields["window_size"] = ours.sliding_window
    return fields


GPT_NEO = Family(
    name="gpt_neo",
    our_model_type="tfm_decoder",
    recipe="gpt_neo",
    base_weights=(
        rule("wte", "embed_tokens"),
        rule("wpe", "position.embedding"),
        rule("h.{}.ln_1", "layers.{}.self_attn_residual.pre_norm"),
        *(rule(f"h.{{}}.attn.attention.{x}_proj", f"layers.{{}}.self_attn.{x}_proj") for x in "qkv"),
        rule("h.{}.attn.attention.out_proj", "layers.{}.self_attn.o_proj"),
        rule("h.{}.ln_2", "layers.{}.mlp_residual.pre_norm"),
        rule("h.{}.mlp.c_fc", "layers.{}.mlp.up_proj"),
        rule("h.{}.mlp.c_proj", "layers.{}.mlp.down_proj"),
        rule("ln_f", "norm"),
    ),
    head_weights=GPT_HEADS,
    head_fields=TOKEN_CLASSIFIER_BIAS,
    field_map={
        **same_names(
            "vocab_size", "hidden_size", "max_position_embeddings", "initializer_range", "attention_dropout",
            "classifier_dropout", "use_cache", "tie_word_embeddings",
        ),
        "num_layers": "num_hidden_layers", "num_heads": "num_attention_heads", "activation_function": "hidden_act",
        "layer_norm_epsilon": "norm_eps", "embed_dropout": "embedding_dropout", "resid_dropout": "hidden_dropout",
    },
    config_mappings=(
        ConfigMapping(
            lambda native: {"intermediate_size": native.intermediate_size or 4 * native.hidden_size},
            lambda ours: {"intermediate_size": ours.intermediate_size},
            ("intermediate_size",),
        ),
        ConfigMapping(
            attention_types_to_ours,
            attention_types_to_native,
            ("attention_types", "attention_layers", "window_size"),
        ),
    ),
)  # fmt: skip

FAMILIES = (GPT2, GPT_NEO, GPT_BIGCODE)
