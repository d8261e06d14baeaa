"""The first GPT (post-norm) and CTRL (pre-norm, sinusoidal positions)."""

import dataclasses
from typing import Any

from ...modeling.recipes import PLAIN_LAYER_NORM
from ..family import ConfigMapping, Family, without
from ..weight_map import rule
from ..weight_transforms import SPLIT_QKV, TRANSPOSE, compose
from .bloom import FOUR_TIMES_HIDDEN_SIZE
from .gpt2 import GPT2, GPT_FIELDS, GPT_HEADS, NO_CLASSIFIER_BIAS, QKV

__all__ = ["FAMILIES"]

# native name of the activation -> ours
ACTIVATIONS = {"gelu": "gelu_new", "relu": "relu", "silu": "silu", "swish": "silu"}


def activation_to_ours(native: Any) -> dict[str, str]:
    return {"hidden_act": ACTIVATIONS[native.afn]}


def activation_to_native(ours: Any) -> dict[str, str]:
    return {"afn": next((native for native, act in ACTIVATIONS.items() if act == ours.hidden_act), ours.hidden_act)}


OPENAI_GPT = dataclasses.replace(
    GPT2,
    name="openai-gpt",
    recipe=None,
    base_weights=(
        rule("tokens_embed", "embed_tokens"),
        rule("positions_embed", "position.embedding"),
        rule("h.{}.attn.c_attn", QKV, compose(TRANSPOSE, SPLIT_QKV)),
        rule("h.{}.attn.c_proj", "layers.{}.self_attn.o_proj", TRANSPOSE),
        rule("h.{}.ln_1", "layers.{}.self_attn_residual.post_norm"),
        rule("h.{}.mlp.c_fc", "layers.{}.mlp.up_proj", TRANSPOSE),
        rule("h.{}.mlp.c_proj", "layers.{}.mlp.down_proj", TRANSPOSE),
        rule("h.{}.ln_2", "layers.{}.mlp_residual.post_norm"),
    ),
    head_weights={head: GPT_HEADS[head] for head in ("base", "causal-lm", "sequence-classification")},
    fixed_fields={
        **PLAIN_LAYER_NORM, **NO_CLASSIFIER_BIAS, "position_type": "learned", "residual_type": "post",
    },
    field_map=without(GPT_FIELDS, "activation_function", "use_cache"),
    config_mappings=(
        FOUR_TIMES_HIDDEN_SIZE,
        ConfigMapping(activation_to_ours, activation_to_native, ("afn",)),
    ),
    required_values={},
    ignored_fields={
        name: "only for OpenAIGPTDoubleHeadsModel" for name in GPT2.ignored_fields if name.startswith("summary")
    },
)  # fmt: skip

CTRL = Family(
    name="ctrl",
    our_model_type="tfm_decoder",
    base_weights=(
        rule("w", "embed_tokens"),
        rule("h.{}.layernorm1", "layers.{}.self_attn_residual.pre_norm"),
        *(rule(f"h.{{}}.multi_head_attention.W{x}", f"layers.{{}}.self_attn.{x}_proj") for x in "qkv"),
        rule("h.{}.multi_head_attention.dense", "layers.{}.self_attn.o_proj"),
        rule("h.{}.layernorm2", "layers.{}.mlp_residual.pre_norm"),
        rule("h.{}.ffn.0", "layers.{}.mlp.up_proj"),
        rule("h.{}.ffn.2", "layers.{}.mlp.down_proj"),
        rule("layernorm", "norm"),
    ),
    head_weights={
        "base": (),
        "causal-lm": GPT_HEADS["causal-lm"],
        "sequence-classification": (rule("classifier", "classifier"),),
    },
    fixed_fields={
        **PLAIN_LAYER_NORM, **NO_CLASSIFIER_BIAS, "position_type": "sinusoidal", "hidden_act": "relu",
        "lm_head_bias": True,
    },
    field_map={
        **without(GPT_FIELDS, "activation_function", "attn_pdrop"), "dff": "intermediate_size",
    },
    config_mappings=(ConfigMapping(lambda native: {"embedding_scale": native.n_embd**0.5}),),
    # a constant in the norms of the layers
    required_values={"layer_norm_epsilon": 1e-6},
)  # fmt: skip

FAMILIES = (OPENAI_GPT, CTRL)
