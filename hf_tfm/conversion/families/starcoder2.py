"""StarCoder2: Llama's parameter names with layer norms and an ungated feed-forward."""

from ...modeling.recipes import PLAIN_LAYER_NORM
from ..family import Family, without
from ..rope_and_window_mappings import FULL_ROPE, WINDOW_IN_ALL_LAYERS
from ..weight_map import rule
from .gpt2 import NO_CLASSIFIER_BIAS, bias_mapping
from .llama import ATTENTION, DECODER_HEADS, EMBEDDING, HEAD_DIM, LLAMA_FIELDS, TOKEN_CLASSIFIER_BIAS, norm_rules

__all__ = ["FAMILIES"]

STARCODER2 = Family(
    name="starcoder2",
    our_model_type="tfm_decoder",
    fixed_fields={**NO_CLASSIFIER_BIAS, **PLAIN_LAYER_NORM, "position_type": "rotary"},
    base_weights=(
        EMBEDDING,
        *norm_rules(),
        *ATTENTION,
        rule("layers.{}.mlp.c_fc", "layers.{}.mlp.up_proj"),
        rule("layers.{}.mlp.c_proj", "layers.{}.mlp.down_proj"),
    ),
    head_weights=without(DECODER_HEADS, "question-answering"),
    head_fields=TOKEN_CLASSIFIER_BIAS,
    field_map={
        **without(LLAMA_FIELDS, "rms_norm_eps", "head_dim"), "norm_epsilon": "norm_eps",
        "embedding_dropout": "embedding_dropout", "residual_dropout": "hidden_dropout",
    },
    config_mappings=(bias_mapping("use_bias"), HEAD_DIM, WINDOW_IN_ALL_LAYERS, FULL_ROPE),
)  # fmt: skip

FAMILIES = (STARCODER2,)
