"""StableLM: Llama with layer norms, a partial rotation, and optionally norms of queries and keys per head."""

from ...modeling.recipes import UNBIASED
from ..family import ConfigMapping, Family, without
from ..rope_and_window_mappings import PARTIAL_ROPE
from ..weight_map import rule
from ..weight_transforms import STACK_HEADS
from .gpt2 import NO_CLASSIFIER_BIAS
from .llama import DECODER_HEADS, LLAMA_BASE, LLAMA_FIELDS, TOKEN_CLASSIFIER_BIAS

__all__ = ["FAMILIES", "qk_norm_mapping"]


def qk_norm_mapping(native_field: str, qk_norm: str) -> ConfigMapping:
    """A native flag for norms of queries and keys, which are of the type `qk_norm` in our configuration."""
    return ConfigMapping(
        lambda native: {"qk_norm": qk_norm if getattr(native, native_field) else "none"},
        lambda ours: {native_field: ours.qk_norm == qk_norm},
        (native_field,),
    )


STABLELM = Family(
    name="stablelm",
    our_model_type="tfm_decoder",
    fixed_fields={
        **NO_CLASSIFIER_BIAS, **UNBIASED, "position_type": "rotary", "norm_type": "layer_norm", "mlp_type": "gated",
    },
    base_weights=(
        *LLAMA_BASE,
        rule("layers.{}.self_attn.q_layernorm.norms.{query_head}", "layers.{}.self_attn.q_norm", STACK_HEADS),
        rule("layers.{}.self_attn.k_layernorm.norms.{key_head}", "layers.{}.self_attn.k_norm", STACK_HEADS),
    ),
    head_weights=without(DECODER_HEADS, "question-answering"),
    head_fields=TOKEN_CLASSIFIER_BIAS,
    field_map={
        **without(LLAMA_FIELDS, "rms_norm_eps", "head_dim"), "layer_norm_eps": "norm_eps", "use_qkv_bias": "qkv_bias",
        "hidden_dropout": "hidden_dropout",
    },
    config_mappings=(
        PARTIAL_ROPE,
        qk_norm_mapping("qk_layernorm", "heads"),
        ConfigMapping(
            lambda native: {"residual_type": "parallel" if native.use_parallel_residual else "pre"},
            lambda ours: {"use_parallel_residual": ours.residual_type == "parallel"},
            ("use_parallel_residual",),
        ),
    ),
)  # fmt: skip

FAMILIES = (STABLELM,)
