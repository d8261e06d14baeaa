"""Decoders of Megatron's layout, one matrix for queries, keys and values of a head or group: GPT-NeoX, BLOOM, Falcon;
and MPT, BLOOM's kin in positions."""

from typing import Any

from ..modeling.recipes import PLAIN_LAYER_NORM, UNBIASED
from .family import Computed, Family
from .gpt2 import GPT_HEADS, GPT_TOKEN_BIAS, NO_LABELS_BIAS, QKV, every_bias
from .layer_kinds import PARTIAL_ROTARY, WHOLE_HEADS
from .llama import ALL_ATTENTION_BIASES
from .rows import BLOCKS, GROUPS, ConversionError, row

__all__ = ["FAMILIES"]

GPT_NEOX = Family(
    name="gpt_neox",
    architecture="tfm_decoder",
    words={**PLAIN_LAYER_NORM, **NO_LABELS_BIAS, "position_type": "rotary"},
    trunk=(
        row("embed_in", "embed_tokens"),
        row("layers.{}.input_layernorm", "layers.{}.self_attn_residual.before"),
        row("layers.{}.post_attention_layernorm", "layers.{}.mlp_residual.before"),
        row("layers.{}.attention.query_key_value", QKV, GROUPS),
        row("layers.{}.attention.dense", "layers.{}.self_attn.o_proj"),
        row("layers.{}.mlp.dense_h_to_4h", "layers.{}.mlp.up_proj"),
        row("layers.{}.mlp.dense_4h_to_h", "layers.{}.mlp.down_proj"),
        row("final_layer_norm", "norm"),
    ),
    heads=GPT_HEADS,
    head_words=GPT_TOKEN_BIAS,
    fields={
        **{
            name: name
            for name in (
                "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
                "hidden_act", "attention_dropout", "classifier_dropout", "max_position_embeddings",
                "initializer_range", "use_cache", "tie_word_embeddings",
            )
        },
        "layer_norm_eps": "norm_eps",
    },
    computed=(
        ALL_ATTENTION_BIASES,
        PARTIAL_ROTARY,
        Computed(
            lambda native: {"hidden_dropout": native.hidden_dropout, "embedding_dropout": native.hidden_dropout},
            lambda ours: {"hidden_dropout": ours.hidden_dropout},
            ("hidden_dropout",),
        ),
        Computed(
            lambda native: {"residual_type": "parallel_two_norms" if native.use_parallel_residual else "pre"},
            lambda ours: {"use_parallel_residual": ours.residual_type != "pre"},
            ("use_parallel_residual",),
        ),
    ),
    ignored={"is_decoder": "read by nothing"},
)  # fmt: skip

GROUPED_ROWS = (
    row("word_embeddings", "embed_tokens"),
    row("h.{}.input_layernorm", "layers.{}.self_attn_residual.before"),
    row("h.{}.post_attention_layernorm", "layers.{}.mlp_residual.before"),
    row("h.{}.self_attention.query_key_value", QKV, GROUPS),
    row("h.{}.self_attention.dense", "layers.{}.self_attn.o_proj"),
    row("h.{}.mlp.dense_h_to_4h", "layers.{}.mlp.up_proj"),
    row("h.{}.mlp.dense_4h_to_h", "layers.{}.mlp.down_proj"),
    row("ln_f", "norm"),
)
FOUR_TIMES = Computed(lambda native: {"intermediate_size": 4 * native.hidden_size})

BLOOM = Family(
    name="bloom",
    architecture="tfm_decoder",
    recipe="bloom",
    trunk=(*GROUPED_ROWS, row("word_embeddings_layernorm", "embed_norm")),
    heads=GPT_HEADS,
    head_words=GPT_TOKEN_BIAS,
    fields={
        "vocab_size": "vocab_size", "hidden_size": "hidden_size", "n_layer": "num_hidden_layers",
        "n_head": "num_attention_heads", "layer_norm_epsilon": "norm_eps", "initializer_range": "initializer_range",
        "hidden_dropout": "hidden_dropout", "attention_dropout": "attention_dropout", "use_cache": "use_cache",
        "tie_word_embeddings": "tie_word_embeddings", "seq_length": "max_position_embeddings",
    },
    computed=(FOUR_TIMES,),
    required={"apply_residual_connection_post_layernorm": False},
    ignored=dict.fromkeys(("pretraining_tp", "slow_but_exact"), "the order of sums alone"),
)  # fmt: skip

# Falcon's three layouts are one: groups of queries with their key and value; a single group, or one for every query.


def falcon_wiring(native: Any) -> dict[str, Any]:
    if not native.parallel_attn:
        return {"residual_type": "pre"}
    default = 2 if native.new_decoder_architecture else 1
    return {"residual_type": {1: "parallel", 2: "parallel_two_norms"}[native.num_ln_in_parallel_attn or default]}


def falcon_groups(native: Any) -> dict[str, Any]:
    single = native.multi_query and not native.new_decoder_architecture
    return {"num_key_value_heads": 1 if single else native.num_kv_heads}


def falcon_architecture(ours: Any) -> dict[str, Any]:
    groups, norms = ours.num_key_value_heads, {"parallel": 1, "parallel_two_norms": 2}.get(ours.residual_type)
    new = norms == 2 or (norms == 1 and groups not in (1, ours.num_attention_heads))
    return {
        "parallel_attn": norms is not None,
        "num_ln_in_parallel_attn": norms,
        "new_decoder_architecture": new,
        "multi_query": groups == 1,
        "num_kv_heads": groups if new else None,
    }


FALCON = Family(
    name="falcon",
    architecture="tfm_decoder",
    words={**PLAIN_LAYER_NORM, **NO_LABELS_BIAS, "position_type": "rotary"},
    trunk=(
        *GROUPED_ROWS,
        row("h.{}.ln_attn", "layers.{}.self_attn_residual.before"),
        row("h.{}.ln_mlp", "layers.{}.mlp_residual.before"),
    ),
    heads=GPT_HEADS,
    head_words=GPT_TOKEN_BIAS,
    fields={
        **{
            name: name
            for name in (
                "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "hidden_dropout",
                "max_position_embeddings", "initializer_range", "rope_parameters", "use_cache", "tie_word_embeddings",
            )
        },
        "layer_norm_epsilon": "norm_eps", "ffn_hidden_size": "intermediate_size", "activation": "hidden_act",
    },
    computed=(
        every_bias("bias"),
        WHOLE_HEADS,
        Computed(falcon_wiring, falcon_architecture, ("parallel_attn", "num_ln_in_parallel_attn")),
        Computed(falcon_groups, reads=("new_decoder_architecture", "multi_query", "num_kv_heads")),
    ),
    required={"alibi": False},
    ignored={"attention_dropout": "scores have none where positions are rotary"},
)  # fmt: skip

# What MPT's configuration says of attention but its class never reads, and the clamp: a checkpoint that says
# otherwise was trained as another model.
MPT_ATTENTION = {
    "attn_type": "multihead_attention", "attn_pdrop": 0, "clip_qkv": None, "prefix_lm": False, "qk_ln": False,
    "attn_uses_sequence_id": False, "alibi": True, "alibi_bias_max": 8,
}  # fmt: skip


def mpt_attention(native: Any) -> dict[str, Any]:
    for name, value in MPT_ATTENTION.items():
        found = getattr(native.attn_config, name)
        if found != value:
            raise ConversionError(
                f"mpt with attn_config.{name}={found!r} cannot be said in our block; {name}={value!r} can."
            )
    return {"attention_scale": native.attn_config.softmax_scale}


MPT = Family(
    name="mpt",
    architecture="tfm_decoder",
    words={
        **PLAIN_LAYER_NORM, **UNBIASED, **NO_LABELS_BIAS, "norm_bias": False, "hidden_act": "gelu",
        "position_type": "alibi",
    },
    trunk=(
        row("wte", "embed_tokens"),
        row("blocks.{}.norm_1", "layers.{}.self_attn_residual.before"),
        row("blocks.{}.attn.Wqkv", QKV, BLOCKS),
        row("blocks.{}.attn.out_proj", "layers.{}.self_attn.o_proj"),
        row("blocks.{}.norm_2", "layers.{}.mlp_residual.before"),
        row("blocks.{}.ffn.up_proj", "layers.{}.mlp.up_proj"),
        row("blocks.{}.ffn.down_proj", "layers.{}.mlp.down_proj"),
        row("norm_f", "norm"),
    ),
    heads=GPT_HEADS,
    head_words=GPT_TOKEN_BIAS,
    fields={
        "vocab_size": "vocab_size", "d_model": "hidden_size", "n_heads": "num_attention_heads",
        "n_layers": "num_hidden_layers", "max_seq_len": "max_position_embeddings", "layer_norm_epsilon": "norm_eps",
        "initializer_range": "initializer_range", "use_cache": "use_cache",
        "tie_word_embeddings": "tie_word_embeddings",
    },
    computed=(
        FOUR_TIMES,
        Computed(
            mpt_attention, lambda ours: {"attn_config": {"softmax_scale": ours.attention_scale}}, ("attn_config",)
        ),
    ),
    required={"expansion_ratio": 4, "no_bias": True, "logit_scale": None, "embedding_fraction": 1.0},
    ignored={
        "learned_pos_emb": "positions are ALiBi, always", "norm_type": "a layer norm, always",
        "init_device": "where weights are made",
        **dict.fromkeys(("resid_pdrop", "emb_pdrop"), "read by nothing"),
    },
)  # fmt: skip

FAMILIES = (GPT_NEOX, BLOOM, FALCON, MPT)
