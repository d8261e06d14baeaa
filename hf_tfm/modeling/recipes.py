"""Named recipes: the configuration fields of published families, sizes left to the user.

A recipe says how a family is built, never how large: `TfmDecoderConfig.recipe("llama", hidden_size=1024)`. A callable
value is computed from the sizes in use. Conversion reads the same recipes, so a family is described once.
"""

import math
from collections.abc import Callable
from typing import Any

Sizes = dict[str, Any]

# The sizes a callable may read, with the defaults of the configuration classes.
DEFAULT_SIZES: Sizes = {"hidden_size": 512, "num_hidden_layers": 6}


def sqrt_width(sizes: Sizes) -> float:
    return math.sqrt(sizes["hidden_size"])


def inverse_sqrt_output_width(sizes: Sizes) -> float:
    return (sizes.get("decoder_hidden_size") or sizes["hidden_size"]) ** -0.5


def alternate(*kinds: str) -> Callable[[Sizes], list[str]]:
    """Layer types repeated in this order from the first layer on."""
    return lambda sizes: [kinds[i % len(kinds)] for i in range(sizes["num_hidden_layers"])]


BIASED = {"qkv_bias": True, "out_bias": True, "mlp_bias": True}
UNBIASED = {"qkv_bias": False, "out_bias": False, "mlp_bias": False}
PLAIN_LAYER_NORM = {"norm_type": "layer_norm", "mlp_type": "plain", **BIASED}
DROPOUT = {"hidden_dropout": 0.1, "attention_dropout": 0.1, "embedding_dropout": 0.1}

# name -> (model types, fields)
RECIPES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    # Vaswani et al. 2017, arXiv:1706.03762
    "original": (
        ("tfm_encoder", "tfm_decoder", "tfm_seq2seq"),
        {
            **PLAIN_LAYER_NORM, **DROPOUT, "residual_type": "post", "position_type": "sinusoidal", "hidden_act": "relu",
            "norm_eps": 1e-5, "embedding_scale": sqrt_width,
        },
    ),
    # Devlin et al. 2019, arXiv:1810.04805
    "bert": (
        ("tfm_encoder",),
        {
            **PLAIN_LAYER_NORM, **DROPOUT, "residual_type": "post", "position_type": "learned", "hidden_act": "gelu",
            "norm_eps": 1e-12, "embedding_norm": "after_positions", "type_vocab_size": 2,
            "max_position_embeddings": 512,
            "lm_head_type": "transform", "lm_head_act": "gelu", "lm_head_bias": True,
            "add_pooling_layer": True, "classifier_dense": "pooled", "pad_token_id": 0,
        },
    ),
    # Radford et al. 2019
    "gpt2": (
        ("tfm_decoder",),
        {
            **PLAIN_LAYER_NORM, **DROPOUT, "position_type": "learned", "hidden_act": "gelu_new", "norm_eps": 1e-5,
            "max_position_embeddings": 1024, "depth_scaling": "scaled", "classifier_bias": False,
        },
    ),
    # Black et al. 2021; alternating global and local layers, scores unscaled
    "gpt_neo": (
        ("tfm_decoder",),
        {
            **PLAIN_LAYER_NORM, "qkv_bias": False, "position_type": "learned", "hidden_act": "gelu_new",
            "norm_eps": 1e-5, "attention_scale": 1.0, "sliding_window": 256,
            "layer_types": alternate("full_attention", "sliding_attention"), "classifier_bias": False,
        },
    ),
    # Touvron et al. 2023, arXiv:2302.13971
    "llama": (
        ("tfm_decoder",),
        {
            **UNBIASED, "norm_type": "rms_norm", "norm_eps": 1e-6, "position_type": "rotary", "mlp_type": "gated",
            "hidden_act": "silu", "tie_word_embeddings": False, "classifier_bias": False,
        },
    ),
    # Gemma Team 2024, arXiv:2408.00118
    "gemma2": (
        ("tfm_decoder",),
        {
            **UNBIASED, "residual_type": "sandwich", "norm_type": "rms_norm", "norm_eps": 1e-6,
            "position_type": "rotary", "mlp_type": "gated", "hidden_act": "gelu_pytorch_tanh",
            "embedding_scale": sqrt_width, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
            "sliding_window": 4096, "layer_types": alternate("sliding_attention", "full_attention"),
            "max_position_embeddings": 8192, "classifier_bias": False,
        },
    ),
    # BigScience 2022, arXiv:2211.05100
    "bloom": (
        ("tfm_decoder",),
        {
            **PLAIN_LAYER_NORM, "position_type": "alibi", "hidden_act": "gelu_pytorch_tanh", "norm_eps": 1e-5,
            "embedding_norm": "after_positions", "classifier_bias": False,
        },
    ),
    # Raffel et al. 2020, arXiv:1910.10683 (v1.0)
    "t5": (
        ("tfm_seq2seq",),
        {
            **UNBIASED, **DROPOUT, "activation_dropout": 0.1, "attention_scale": 1.0, "norm_type": "rms_norm",
            "norm_eps": 1e-6, "position_type": "relative_bias", "mlp_type": "plain", "hidden_act": "relu",
            "logit_scale": inverse_sqrt_output_width, "classifier_dropout": 0.0,
            "pooling": "last_eos", "classifier_dense": "pooled",
            "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0,
        },
    ),
    # Lewis et al. 2020, arXiv:1910.13461
    "bart": (
        ("tfm_seq2seq",),
        {
            **PLAIN_LAYER_NORM, **DROPOUT, "attention_dropout": 0.0, "classifier_dropout": 0.0,
            "residual_type": "post", "position_type": "learned", "position_offset": 2, "hidden_act": "gelu",
            "norm_eps": 1e-5, "embedding_norm": "after_positions", "max_position_embeddings": 1024,
            "lm_head_bias": True, "pooling": "last_eos", "classifier_dense": "pooled",
            "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2,
        },
    ),
}  # fmt: skip


def recipe_fields(name: str, model_type: str, overrides: dict[str, Any]) -> dict[str, Any]:
    """The fields of recipe `name` with `overrides` on top and every callable computed.
    Raises ValueError if no such recipe exists for `model_type`."""
    available = sorted(key for key, (model_types, _) in RECIPES.items() if model_type in model_types)
    if name not in available:
        raise ValueError(f'No recipe "{name}" for {model_type}; available: {", ".join(available)}.')
    sizes = {**DEFAULT_SIZES, **overrides}
    fields = {**RECIPES[name][1], **overrides}
    return {key: value(sizes) if callable(value) else value for key, value in fields.items()}
