"""T5, mT5, and LongT5 with local attention."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from ..family import ConfigMapping, Family, same_names, without
from ..weight_map import WeightMap, rule
from ..weight_transforms import Transform

__all__ = ["CLASSIFICATION_HEAD", "DECODER_START", "FAMILIES", "SHARED_EMBEDDINGS"]

# Weights


def drop_first(tensors: list[Tensor], config: Any) -> list[Tensor]:
    return tensors[1:]


def repeat_first(tensors: list[Tensor], config: Any) -> list[Tensor]:
    return [tensors[0].clone(), *tensors]


# the first embedding is a copy of the second, or not read
DROP_FIRST = Transform(drop_first, repeat_first)
# of the whole model, and of the encoder alone
SHARED_EMBEDDINGS = (
    rule(
        ("shared", "encoder.embed_tokens", "decoder.embed_tokens"),
        ("encoder.embed_tokens", "decoder.embed_tokens"),
        DROP_FIRST,
    ),
    rule(("shared", "encoder.embed_tokens"), "encoder.embed_tokens", DROP_FIRST),
)


def attention_rules(stack: str, native_name: str, our_name: str, sublayer: int) -> WeightMap:
    """Projections and norm of one attention in every layer. `sublayer`: its index within a native layer."""
    native, ours = f"{stack}.block.{{}}.layer.{sublayer}", f"{stack}.layers.{{}}"
    return (
        *(rule(f"{native}.{native_name}.{x}", f"{ours}.{our_name}.{x}_proj") for x in "qkvo"),
        rule(f"{native}.layer_norm", f"{ours}.{our_name}_residual.pre_norm"),
    )


def feed_forward_rules(stack: str, sublayer: int) -> WeightMap:
    native, ours = f"{stack}.block.{{}}.layer.{sublayer}", f"{stack}.layers.{{}}"
    return (
        rule(f"{native}.DenseReluDense.wi_0", f"{ours}.mlp.gate_proj"),
        rule(f"{native}.DenseReluDense.wi_1", f"{ours}.mlp.up_proj"),
        rule(f"{native}.DenseReluDense.wi", f"{ours}.mlp.up_proj"),
        rule(f"{native}.DenseReluDense.wo", f"{ours}.mlp.down_proj"),
        rule(f"{native}.layer_norm", f"{ours}.mlp_residual.pre_norm"),
    )


def relative_bias_rule(stack: str, attention: str) -> WeightMap:
    native = f"{stack}.block.0.layer.0.{attention}.relative_attention_bias"
    return (rule(native, f"{stack}.position.relative_attention_bias"),)


def t5_base(encoder_attention: str) -> WeightMap:
    """Both stacks. `encoder_attention`: the native name of the self-attention in the encoder."""
    return (
        *SHARED_EMBEDDINGS,
        *attention_rules("encoder", encoder_attention, "self_attn", 0),
        *feed_forward_rules("encoder", 1),
        rule("encoder.final_layer_norm", "encoder.norm"),
        *relative_bias_rule("encoder", encoder_attention),
        *attention_rules("decoder", "SelfAttention", "self_attn", 0),
        *attention_rules("decoder", "EncDecAttention", "cross_attn", 1),
        *feed_forward_rules("decoder", 2),
        rule("decoder.final_layer_norm", "decoder.norm"),
        *relative_bias_rule("decoder", "SelfAttention"),
    )


CLASSIFICATION_HEAD = (
    rule("classification_head.dense", "pooler.transform.dense"),
    rule("classification_head.out_proj", "classifier"),
)

# Configuration


def feed_forward_to_ours(native: Any) -> dict[str, Any]:
    return {"mlp_type": "gated" if native.is_gated_act else "plain", "hidden_act": native.dense_act_fn}


def feed_forward_to_native(ours: Any) -> dict[str, Any]:
    if ours.mlp_type != "gated":
        return {"feed_forward_proj": ours.hidden_act}
    # transformers reads "gated-gelu" as gelu_new
    activation = "gelu" if ours.hidden_act == "gelu_new" else ours.hidden_act
    return {"feed_forward_proj": f"gated-{activation}"}


T5_FIELDS = {
    **same_names(
        "vocab_size", "relative_attention_num_buckets", "relative_attention_max_distance", "classifier_dropout",
        "use_cache",
    ),
    "d_model": "hidden_size", "d_kv": "head_dim", "d_ff": "intermediate_size", "num_layers": "num_hidden_layers",
    "num_decoder_layers": "decoder_layers", "num_heads": "num_attention_heads", "layer_norm_epsilon": "norm_eps",
}  # fmt: skip
DROPOUTS = ("hidden_dropout", "attention_dropout", "embedding_dropout", "activation_dropout")
T5_DROPOUT = ConfigMapping(
    lambda native: dict.fromkeys(DROPOUTS, native.dropout_rate),
    lambda ours: {"dropout_rate": ours.hidden_dropout},
    ("dropout_rate",),
)
FEED_FORWARD = ConfigMapping(
    feed_forward_to_ours, feed_forward_to_native, ("feed_forward_proj", "dense_act_fn", "is_gated_act")
)
DECODER_START = ConfigMapping(
    lambda native: {"decoder_start_token_id": getattr(native, "decoder_start_token_id", native.pad_token_id)},
    lambda ours: {"decoder_start_token_id": ours.decoder_start_token_id},
    ("decoder_start_token_id",),
)
LOGIT_SCALE = ConfigMapping(
    lambda native: {"logit_scale": native.d_model**-0.5 if native.scale_decoder_outputs else 1.0},
    lambda ours: {"scale_decoder_outputs": ours.logit_scale != 1.0},
    ("scale_decoder_outputs",),
)

# Families

T5 = Family(
    name="t5",
    our_model_type="tfm_seq2seq",
    recipe="t5",
    base_weights=t5_base("SelfAttention"),
    head_weights={
        "base": (),
        "encoder": (),
        "seq2seq-lm": (rule("lm_head", "lm_head"),),
        "sequence-classification": CLASSIFICATION_HEAD,
        "question-answering": (rule("qa_outputs", "qa_outputs"),),
    },
    field_map=T5_FIELDS,
    config_mappings=(T5_DROPOUT, FEED_FORWARD, DECODER_START, LOGIT_SCALE),
    required_values={"is_decoder": False},
    ignored_fields={
        "initializer_factor": "changes only initial weights",
        "tie_word_embeddings": "read from the tensors",
    },
)
# no scale before the head, tied or not
MT5 = replace(
    T5, name="mt5", fixed_fields={"logit_scale": 1.0}, config_mappings=(T5_DROPOUT, FEED_FORWARD, DECODER_START)
)


def local_attention_to_ours(native: Any) -> dict[str, Any]:
    return {
        "sliding_window": native.local_radius,
        "layer_types": ["sliding_attention"] * native.num_layers,
        "decoder_layer_types": ["full_attention"] * native.num_decoder_layers,
    }


LONGT5 = replace(
    T5,
    name="longt5",
    base_weights=t5_base("LocalSelfAttention"),
    head_weights={head: T5.head_weights[head] for head in ("base", "seq2seq-lm")},
    field_map=without(T5_FIELDS, "classifier_dropout"),
    config_mappings=(
        *T5.config_mappings,
        ConfigMapping(
            local_attention_to_ours, lambda ours: {"local_radius": ours.sliding_window or 127}, ("local_radius",)
        ),
    ),
    required_values={"is_decoder": False, "encoder_attention_type": "local"},
    ignored_fields={**T5.ignored_fields, "global_block_size": "only for global attention"},
)

FAMILIES = (T5, MT5, LONGT5)
