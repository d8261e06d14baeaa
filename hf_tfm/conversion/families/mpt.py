"""MPT: ALiBi positions and no biases."""

from typing import Any

from ...modeling.recipes import PLAIN_LAYER_NORM, UNBIASED
from ..errors import ConversionError
from ..family import ConfigMapping, Family, same_names
from ..weight_map import rule
from ..weight_transforms import SPLIT_QKV
from .bloom import FOUR_TIMES_HIDDEN_SIZE
from .gpt2 import GPT_HEADS, NO_CLASSIFIER_BIAS, QKV
from .llama import TOKEN_CLASSIFIER_BIAS

__all__ = ["FAMILIES"]

# Fields of `attn_config` with the only values that we support. Apart from the clamp (clip_qkv), the native class does
# not read them: a checkpoint with other values was trained as another model.
REQUIRED_ATTENTION_VALUES = {
    "attn_type": "multihead_attention", "attn_pdrop": 0, "clip_qkv": None, "prefix_lm": False, "qk_ln": False,
    "attn_uses_sequence_id": False, "alibi": True, "alibi_bias_max": 8,
}  # fmt: skip


def check_attention(native: Any) -> None:
    for name, value in REQUIRED_ATTENTION_VALUES.items():
        found = getattr(native.attn_config, name)
        if found != value:
            raise ConversionError(
                f"mpt with attn_config.{name}={found!r} is not supported; attn_config.{name}={value!r} is."
            )


ATTENTION = ConfigMapping(
    to_ours=lambda native: {"attention_scale": native.attn_config.softmax_scale},
    to_native=lambda ours: {"attn_config": {"softmax_scale": ours.attention_scale}},
    native_fields=("attn_config",),
    check=check_attention,
)

MPT = Family(
    name="mpt",
    our_model_type="tfm_decoder",
    fixed_fields={
        **PLAIN_LAYER_NORM, **UNBIASED, **NO_CLASSIFIER_BIAS, "norm_bias": False, "hidden_act": "gelu",
        "position_type": "alibi",
    },
    base_weights=(
        rule("wte", "embed_tokens"),
        rule("blocks.{}.norm_1", "layers.{}.self_attn_residual.pre_norm"),
        rule("blocks.{}.attn.Wqkv", QKV, SPLIT_QKV),
        rule("blocks.{}.attn.out_proj", "layers.{}.self_attn.o_proj"),
        rule("blocks.{}.norm_2", "layers.{}.mlp_residual.pre_norm"),
        rule("blocks.{}.ffn.up_proj", "layers.{}.mlp.up_proj"),
        rule("blocks.{}.ffn.down_proj", "layers.{}.mlp.down_proj"),
        rule("norm_f", "norm"),
    ),
    head_weights=GPT_HEADS,
    head_fields=TOKEN_CLASSIFIER_BIAS,
    field_map={
        **same_names("vocab_size", "initializer_range", "use_cache", "tie_word_embeddings"),
        "d_model": "hidden_size", "n_heads": "num_attention_heads", "n_layers": "num_hidden_layers",
        "max_seq_len": "max_position_embeddings", "layer_norm_epsilon": "norm_eps",
    },
    config_mappings=(FOUR_TIMES_HIDDEN_SIZE, ATTENTION),
    required_values={"expansion_ratio": 4, "no_bias": True, "logit_scale": None, "embedding_fraction": 1.0},
    ignored_fields={
        "learned_pos_emb": "positions are always ALiBi",
        "norm_type": "always a layer norm",
        "init_device": "changes only where weights are created",
        **dict.fromkeys(("resid_pdrop", "emb_pdrop"), "not read"),
    },
)  # fmt: skip

FAMILIES = (MPT,)
