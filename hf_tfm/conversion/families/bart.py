"""BART, MVP without prompts, and mBART, PLBart, Blenderbot and BigBird-Pegasus, which place their norms differently."""

from dataclasses import replace

from ..family import ConfigMapping, Family, same_names, without
from ..weight_map import WeightMap, rule
from ..weight_transforms import FLATTEN
from .t5 import CLASSIFICATION_HEAD, DECODER_START, SHARED_EMBEDDINGS

__all__ = [
    "BART_DROPOUT", "BART_EMBEDDING_SCALE", "BART_FIELDS", "BART_HEADS", "BART_IGNORED_FIELDS", "FAMILIES", "LAYERDROP",
    "PRE_NORM_FIELDS", "bart_base",
]  # fmt: skip

# Weights


def attention_rules(stack: str, native_name: str, our_name: str, norm_placement: str) -> WeightMap:
    native, ours = f"{stack}.layers.{{}}.{native_name}", f"{stack}.layers.{{}}.{our_name}"
    return (
        *(rule(f"{native}.{x}_proj", f"{ours}.{x}_proj") for x in "qkv"),
        rule(f"{native}.out_proj", f"{ours}.o_proj"),
        rule(f"{native}_layer_norm", f"{ours}_residual.{norm_placement}"),
    )


def stack_rules(stack: str, norm_placement: str) -> WeightMap:
    layer = f"{stack}.layers.{{}}"
    return (
        rule(f"{stack}.embed_positions", f"{stack}.position.embedding"),
        rule(f"{stack}.layernorm_embedding", f"{stack}.embed_norm"),
        *attention_rules(stack, "self_attn", "self_attn", norm_placement),
        *attention_rules(stack, "encoder_attn", "cross_attn", norm_placement),
        rule(f"{layer}.fc1", f"{layer}.mlp.up_proj"),
        rule(f"{layer}.fc2", f"{layer}.mlp.down_proj"),
        rule(f"{layer}.final_layer_norm", f"{layer}.mlp_residual.{norm_placement}"),
        rule(f"{stack}.layer_norm", f"{stack}.norm"),
    )


def bart_base(norm_placement: str) -> WeightMap:
    """Both stacks. `norm_placement`: "pre_norm" or "post_norm"."""
    return (
        *SHARED_EMBEDDINGS,
        *stack_rules("encoder", norm_placement),
        *stack_rules("decoder", norm_placement),
    )


BART_HEADS = {
    "base": (),
    "seq2seq-lm": (rule("lm_head.weight", "lm_head.weight"), rule("final_logits_bias", "lm_head.bias", FLATTEN)),
    "sequence-classification": CLASSIFICATION_HEAD,
    "question-answering": (rule("qa_outputs", "qa_outputs"),),
}

# Configuration

BART_FIELDS = {
    **same_names(
        "vocab_size", "decoder_layers", "decoder_attention_heads", "max_position_embeddings", "attention_dropout",
        "activation_dropout", "classifier_dropout", "use_cache", "tie_word_embeddings",
    ),
    "d_model": "hidden_size", "encoder_layers": "num_hidden_layers", "encoder_attention_heads": "num_attention_heads",
    "encoder_ffn_dim": "intermediate_size", "decoder_ffn_dim": "decoder_intermediate_size",
    "activation_function": "hidden_act", "init_std": "initializer_range",
}  # fmt: skip
BART_DROPOUT = ConfigMapping(
    lambda native: {"hidden_dropout": native.dropout, "embedding_dropout": native.dropout},
    lambda ours: {"dropout": ours.hidden_dropout},
    ("dropout",),
)
BART_EMBEDDING_SCALE = ConfigMapping(
    lambda native: {"embedding_scale": native.d_model**0.5 if native.scale_embedding else 1.0},
    lambda ours: {"scale_embedding": ours.embedding_scale != 1.0},
    ("scale_embedding",),
)
LAYERDROP = dict.fromkeys(("encoder_layerdrop", "decoder_layerdrop"), "drops layers only in training")
BART_IGNORED_FIELDS = {**LAYERDROP, "forced_eos_token_id": "part of the generation config"}

# Families

BART = Family(
    name="bart",
    our_model_type="tfm_seq2seq",
    recipe="bart",
    base_weights=bart_base("post_norm"),
    head_weights=BART_HEADS,
    field_map=BART_FIELDS,
    config_mappings=(BART_DROPOUT, BART_EMBEDDING_SCALE, DECODER_START),
    required_values={"is_decoder": False},
    ignored_fields=BART_IGNORED_FIELDS,
)
MVP = replace(
    BART,
    name="mvp",
    required_values={"is_decoder": False, "use_prompt": False},
    ignored_fields={**BART_IGNORED_FIELDS, **dict.fromkeys(("prompt_length", "prompt_mid_dim"), "only for prompts")},
)
# the decoder input starts with the last token of the labels, a language code
WRAPPED_SHIFT = {"decoder_shift": "wrap_last_non_pad"}
PLBART = replace(
    BART,
    name="plbart",
    fixed_fields=WRAPPED_SHIFT,
    head_weights=without(BART_HEADS, "question-answering"),
)
MBART = replace(
    BART, name="mbart", base_weights=bart_base("pre_norm"), fixed_fields={"residual_type": "pre", **WRAPPED_SHIFT}
)

PRE_NORM_FIELDS = {"residual_type": "pre", "embedding_norm": "none", "position_offset": 0}
BLENDERBOT = replace(
    BART,
    name="blenderbot",
    base_weights=bart_base("pre_norm"),
    head_weights={head: BART_HEADS[head] for head in ("base", "seq2seq-lm")},
    fixed_fields=PRE_NORM_FIELDS,
    field_map=without(BART_FIELDS, "classifier_dropout"),
    ignored_fields={**BART_IGNORED_FIELDS, "encoder_no_repeat_ngram_size": "part of the generation config"},
)

BIGBIRD_ATTENTION = "encoder.layers.{}.self_attn"
BIGBIRD_PEGASUS = replace(
    BART,
    name="bigbird_pegasus",
    base_weights=(
        # These two come first: the final norms are called layernorm_embedding, as BART's norms of embeddings are.
        rule("encoder.layernorm_embedding", "encoder.norm"),
        rule("decoder.layernorm_embedding", "decoder.norm"),
        rule(f"{BIGBIRD_ATTENTION}.self.query", f"{BIGBIRD_ATTENTION}.q_proj"),
        rule(f"{BIGBIRD_ATTENTION}.self.key", f"{BIGBIRD_ATTENTION}.k_proj"),
        rule(f"{BIGBIRD_ATTENTION}.self.value", f"{BIGBIRD_ATTENTION}.v_proj"),
        rule(f"{BIGBIRD_ATTENTION}.output", f"{BIGBIRD_ATTENTION}.o_proj"),
        *bart_base("pre_norm"),
    ),
    fixed_fields=PRE_NORM_FIELDS,
    config_mappings=(
        *BART.config_mappings,
        ConfigMapping(
            lambda native: {"qkv_bias": native.use_bias, "out_bias": native.use_bias},
            lambda ours: {"use_bias": ours.qkv_bias},
            ("use_bias",),
        ),
    ),
    required_values={"is_decoder": False, "attention_type": "original_full"},
    ignored_fields={**LAYERDROP, **dict.fromkeys(("block_size", "num_random_blocks"), "only for sparse attention")},
)

FAMILIES = (BART, MVP, MBART, PLBART, BLENDERBOT, BIGBIRD_PEGASUS)
