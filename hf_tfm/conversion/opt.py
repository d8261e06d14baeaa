"""OPT, XGLM and BioGPT: decoders of fairseq."""

from typing import Any

from ..modeling.recipes import PLAIN_LAYER_NORM
from .family import Computed, Family
from .gpt2 import GPT_HEADS, GPT_TOKEN_BIAS, NO_LABELS_BIAS, every_bias
from .layer_kinds import without
from .rows import ConversionError, Row, row

__all__ = ["FAMILIES"]


def fairseq_trunk(side: str, seats: tuple[str, ...], norm: str) -> tuple[Row, ...]:
    """Rows with `side` before the native names, norms in one of the seats. A layer's final_layer_norm is that of its
    feed-forward."""
    theirs, mine = f"{side}layers.{{}}", "layers.{}"
    return (
        row(f"{side}embed_tokens", "embed_tokens"),
        row(f"{side}embed_positions", "position.embedding"),
        *(row(f"{theirs}.self_attn.{name}_proj", f"{mine}.self_attn.{name}_proj") for name in "qkv"),
        row(f"{theirs}.self_attn.out_proj", f"{mine}.self_attn.o_proj"),
        row(f"{theirs}.fc1", f"{mine}.mlp.up_proj"),
        row(f"{theirs}.fc2", f"{mine}.mlp.down_proj"),
        *(row(f"{theirs}.self_attn_layer_norm", f"{mine}.self_attn_residual.{seat}") for seat in seats),
        *(row(f"{theirs}.final_layer_norm", f"{mine}.mlp_residual.{seat}") for seat in seats),
        row(f"{side}{norm}", "norm"),
    )


def both_dropouts(field: str) -> Computed:
    return Computed(
        lambda native: dict.fromkeys(("hidden_dropout", "embedding_dropout"), getattr(native, field)),
        lambda ours: {field: ours.hidden_dropout},
        (field,),
    )


# every native norm has this number, whatever the configuration says
WORDS = {**PLAIN_LAYER_NORM, **NO_LABELS_BIAS, "norm_eps": 1e-5, "position_offset": 2}
SCALE = Computed(
    lambda native: {"embedding_scale": native.hidden_size**0.5 if native.scale_embedding else 1.0},
    lambda ours: {"scale_embedding": ours.embedding_scale != 1.0},
    ("scale_embedding",),
)
LAYERDROP = {"layerdrop": "layers dropped in training alone"}


def narrow_words(native: Any) -> dict[str, Any]:
    if native.word_embed_proj_dim != native.hidden_size:
        raise ConversionError(
            f"opt with word_embed_proj_dim={native.word_embed_proj_dim} beside hidden_size={native.hidden_size} cannot "
            "be said in our block, which has no projection before the vocabulary."
        )
    return {}


OPT = Family(
    name="opt",
    architecture="tfm_decoder",
    words={**WORDS, "position_type": "learned"},
    trunk=fairseq_trunk("decoder.", ("before", "after"), "final_layer_norm"),
    heads=without(GPT_HEADS, "token-classification"),
    fields={
        **{
            name: name
            for name in (
                "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings",
                "attention_dropout", "use_cache", "tie_word_embeddings",
            )
        },
        "ffn_dim": "intermediate_size", "activation_function": "hidden_act", "init_std": "initializer_range",
        "dropout": "hidden_dropout",
    },
    computed=(
        every_bias("enable_bias"),
        Computed(narrow_words, reads=("word_embed_proj_dim",)),
        Computed(
            lambda native: {"residual_type": "pre" if native.do_layer_norm_before else "post"},
            lambda ours: {"do_layer_norm_before": ours.residual_type == "pre"},
            ("do_layer_norm_before",),
        ),
    ),
    required={"_remove_final_layer_norm": False, "layer_norm_elementwise_affine": True},
    ignored=LAYERDROP,
)  # fmt: skip


def sinusoids(native: Any) -> dict[str, Any]:
    # the native table has zeros in the row of this number, and its rows count from 2
    if native.pad_token_id is not None and native.pad_token_id >= 2:
        raise ConversionError(
            f"xglm with pad_token_id={native.pad_token_id} cannot be said in our block: its position "
            f"{native.pad_token_id - 2} is all zeros; pad_token_id=1 can."
        )
    return {}


XGLM = Family(
    name="xglm",
    architecture="tfm_decoder",
    words={**WORDS, "position_type": "sinusoidal", "sinusoid_type": "half_minus_one"},
    trunk=fairseq_trunk("", ("before",), "layer_norm"),
    heads={head: GPT_HEADS[head] for head in ("base", "causal-lm")},
    fields={
        "vocab_size": "vocab_size", "max_position_embeddings": "max_position_embeddings", "d_model": "hidden_size",
        "ffn_dim": "intermediate_size", "num_layers": "num_hidden_layers", "attention_heads": "num_attention_heads",
        "activation_function": "hidden_act", "attention_dropout": "attention_dropout",
        "activation_dropout": "activation_dropout", "init_std": "initializer_range", "use_cache": "use_cache",
        "tie_word_embeddings": "tie_word_embeddings",
    },
    computed=(both_dropouts("dropout"), SCALE, Computed(sinusoids)),
    required={"add_cross_attention": False},
    ignored={**LAYERDROP, "decoder_start_token_id": "of generation, in its configuration"},
)  # fmt: skip

BIOGPT = Family(
    name="biogpt",
    architecture="tfm_decoder",
    words={**WORDS, "position_type": "learned"},
    trunk=fairseq_trunk("", ("before",), "layer_norm"),
    heads={
        "base": (),
        "causal-lm": (row("output_projection", "lm_head"),),
        "sequence-classification": GPT_HEADS["sequence-classification"],
        "token-classification": GPT_HEADS["token-classification"],
    },
    head_words=GPT_TOKEN_BIAS,
    fields={
        **{
            name: name
            for name in (
                "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
                "hidden_act", "max_position_embeddings", "initializer_range", "activation_dropout", "use_cache",
                "tie_word_embeddings",
            )
        },
        "attention_probs_dropout_prob": "attention_dropout",
    },
    computed=(both_dropouts("hidden_dropout_prob"), SCALE),
    ignored={**LAYERDROP, "layer_norm_eps": "read by nothing: the norms have 1e-5"},
)  # fmt: skip

FAMILIES = (OPT, XGLM, BIOGPT)
