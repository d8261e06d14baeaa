"""GPT-2 and what is built after it: GPT-Neo and GPT-BigCode."""

from typing import Any

from ..modeling.recipes import PLAIN_LAYER_NORM
from .family import Computed, Family
from .layer_kinds import without
from .llama import CAUSAL
from .rows import BLOCKS, GROUPS, TRANSPOSED, chain, row

__all__ = ["FAMILIES", "GPT_FIELDS", "GPT_HEADS", "GPT_TOKEN_BIAS", "INNER", "NO_LABELS_BIAS", "QKV", "every_bias"]

QKV = ("layers.{}.self_attn.q_proj", "layers.{}.self_attn.k_proj", "layers.{}.self_attn.v_proj")

# heads of classes that are written out rather than the host's generic ones
GPT_HEADS = {
    "base": (),
    "causal-lm": CAUSAL,
    "sequence-classification": (row("score", "classifier"),),
    "token-classification": (row("classifier", "classifier"),),
    "question-answering": (row("qa_outputs", "qa_outputs"),),
}
GPT_TOKEN_BIAS = {"token-classification": {"classifier_bias": True}}
NO_LABELS_BIAS = {"classifier_bias": False}

# native field -> ours, of configurations that say n_embd
GPT_FIELDS = {
    "vocab_size": "vocab_size", "n_embd": "hidden_size", "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads", "n_positions": "max_position_embeddings", "activation_function": "hidden_act",
    "layer_norm_epsilon": "norm_eps", "initializer_range": "initializer_range", "embd_pdrop": "embedding_dropout",
    "attn_pdrop": "attention_dropout", "resid_pdrop": "hidden_dropout", "use_cache": "use_cache",
    "tie_word_embeddings": "tie_word_embeddings",
}  # fmt: skip
INNER = Computed(
    lambda native: {"intermediate_size": native.n_inner or 4 * native.n_embd},
    lambda ours: {"n_inner": ours.intermediate_size},
    ("n_inner",),
)
SCALED = Computed(
    lambda native: {"attention_scale": None if native.scale_attn_weights else 1.0},
    lambda ours: {"scale_attn_weights": ours.attention_scale is None},
    ("scale_attn_weights",),
)


def every_bias(field: str) -> Computed:
    """One native switch for the biases of all linear layers of a block."""
    return Computed(
        lambda native: dict.fromkeys(("qkv_bias", "out_bias", "mlp_bias"), getattr(native, field)),
        lambda ours: {field: ours.qkv_bias},
        (field,),
    )


GPT2 = Family(
    name="gpt2",
    architecture="tfm_decoder",
    recipe="gpt2",
    trunk=(
        row("wte", "embed_tokens"),
        row("wpe", "position.embedding"),
        row("h.{}.ln_1", "layers.{}.self_attn_residual.before"),
        row("h.{}.attn.c_attn", QKV, chain(TRANSPOSED, BLOCKS)),
        row("h.{}.attn.c_proj", "layers.{}.self_attn.o_proj", TRANSPOSED),
        row("h.{}.ln_2", "layers.{}.mlp_residual.before"),
        row("h.{}.mlp.c_fc", "layers.{}.mlp.up_proj", TRANSPOSED),
        row("h.{}.mlp.c_proj", "layers.{}.mlp.down_proj", TRANSPOSED),
        row("ln_f", "norm"),
    ),
    heads=GPT_HEADS,
    head_words=GPT_TOKEN_BIAS,
    fields={**GPT_FIELDS, "classifier_dropout": "classifier_dropout"},
    computed=(INNER, SCALED),
    required={"add_cross_attention": False, "scale_attn_by_inverse_layer_idx": False},
    ignored={
        "reorder_and_upcast_attn": "precision of half-precision scores alone",
        **dict.fromkeys(
            (
                "summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels",
                "summary_first_dropout",
            ),
            "of the double-heads model alone",
        ),
    },
)  # fmt: skip

# The matrices are linear layers; key and value of the one group follow the queries (multi-query), or each head has
# its own behind its query.
GPT_BIGCODE = Family(
    name="gpt_bigcode",
    architecture="tfm_decoder",
    words={**PLAIN_LAYER_NORM, **NO_LABELS_BIAS, "position_type": "learned"},
    trunk=(
        row("wte", "embed_tokens"),
        row("wpe", "position.embedding"),
        row("h.{}.ln_1", "layers.{}.self_attn_residual.before"),
        row("h.{}.attn.c_attn", QKV, GROUPS),
        row("h.{}.attn.c_proj", "layers.{}.self_attn.o_proj"),
        row("h.{}.ln_2", "layers.{}.mlp_residual.before"),
        row("h.{}.mlp.c_fc", "layers.{}.mlp.up_proj"),
        row("h.{}.mlp.c_proj", "layers.{}.mlp.down_proj"),
        row("ln_f", "norm"),
    ),
    heads=without(GPT_HEADS, "question-answering"),
    head_words=GPT_TOKEN_BIAS,
    fields=GPT_FIELDS,
    computed=(
        INNER,
        SCALED,
        Computed(
            lambda native: {"num_key_value_heads": 1 if native.multi_query else native.n_head},
            lambda ours: {"multi_query": ours.num_key_value_heads == 1},
            ("multi_query",),
        ),
    ),
    required={"add_cross_attention": False},
    ignored=dict.fromkeys(("attention_softmax_in_fp32", "scale_attention_softmax_in_fp32"), "read by nothing any more"),
)

WINDOWS = {"global": "full_attention", "local": "sliding_attention"}


def window_types(native: Any) -> dict[str, Any]:
    return {"layer_types": [WINDOWS[kind] for kind in native.attention_layers], "sliding_window": native.window_size}


def attention_types(ours: Any) -> dict[str, Any]:
    kinds = {kind: word for word, kind in WINDOWS.items()}
    # without local layers the window says nothing, but must be a number
    window = {"window_size": ours.sliding_window} if ours.sliding_window else {}
    return {"attention_types": [[[kinds[kind] for kind in ours.layer_types], 1]], **window}


GPT_NEO = Family(
    name="gpt_neo",
    architecture="tfm_decoder",
    recipe="gpt_neo",
    trunk=(
        row("wte", "embed_tokens"),
        row("wpe", "position.embedding"),
        row("h.{}.ln_1", "layers.{}.self_attn_residual.before"),
        *(row(f"h.{{}}.attn.attention.{x}_proj", f"layers.{{}}.self_attn.{x}_proj") for x in "qkv"),
        row("h.{}.attn.attention.out_proj", "layers.{}.self_attn.o_proj"),
        row("h.{}.ln_2", "layers.{}.mlp_residual.before"),
        row("h.{}.mlp.c_fc", "layers.{}.mlp.up_proj"),
        row("h.{}.mlp.c_proj", "layers.{}.mlp.down_proj"),
        row("ln_f", "norm"),
    ),
    heads=GPT_HEADS,
    head_words=GPT_TOKEN_BIAS,
    fields={
        "vocab_size": "vocab_size", "hidden_size": "hidden_size", "num_layers": "num_hidden_layers",
        "num_heads": "num_attention_heads", "max_position_embeddings": "max_position_embeddings",
        "activation_function": "hidden_act", "layer_norm_epsilon": "norm_eps", "initializer_range": "initializer_range",
        "embed_dropout": "embedding_dropout", "attention_dropout": "attention_dropout",
        "resid_dropout": "hidden_dropout", "classifier_dropout": "classifier_dropout", "use_cache": "use_cache",
        "tie_word_embeddings": "tie_word_embeddings",
    },
    computed=(
        Computed(
            lambda native: {"intermediate_size": native.intermediate_size or 4 * native.hidden_size},
            lambda ours: {"intermediate_size": ours.intermediate_size},
            ("intermediate_size",),
        ),
        Computed(window_types, attention_types, ("attention_types", "window_size")),
    ),
)  # fmt: skip

FAMILIES = (GPT2, GPT_NEO, GPT_BIGCODE)
