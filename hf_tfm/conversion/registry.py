"""The native families that can be converted, and known ones that cannot, with the feature that we lack.

To add a family, add its module here, in the position where `hf-tfm families` should list it."""

from typing import Any

from .bidirectional import as_encoder, is_bidirectional
from .errors import ConversionError
from .families import (
    bart,
    bert,
    bloom,
    cohere,
    distilbert,
    eurobert,
    exaone,
    falcon,
    gemma,
    glm,
    gpt2,
    gpt_neox,
    gptj,
    granite,
    hunyuan,
    llama,
    marian,
    modernbert,
    moe,
    mpt,
    nanochat,
    nomic_bert,
    olmo,
    openai_gpt,
    opt,
    phi,
    qwen,
    roberta,
    stablelm,
    starcoder2,
    t5,
    t5gemma,
    xlm,
)
from .family import Family

__all__ = ["FAMILIES", "MODULES", "UNSUPPORTED", "family_of", "get_family", "is_supported"]

MODULES = (
    bert, roberta, distilbert, xlm, modernbert, nomic_bert, eurobert,
    openai_gpt, gpt2, gptj, gpt_neox, bloom, falcon, mpt, opt, starcoder2, phi, stablelm, cohere,
    llama, qwen, glm, gemma, olmo, exaone, moe, granite, hunyuan, nanochat,
    t5, bart, marian, t5gemma,
)  # fmt: skip

# Native model type -> family.
FAMILIES: dict[str, Family] = {family.name: family for module in MODULES for family in module.FAMILIES}

# Native model type -> the feature that we lack.
UNSUPPORTED: dict[str, str] = {
    "albert": "layers that share their weights",
    "apertus": "the xIELU activation with learned parameters",
    "bitnet": "norms inside attention and feed-forward",
    "blenderbot-small": "embedding norms placed differently in encoder and decoder",
    "deberta": "attention scores between tokens and relative positions (disentangled attention)",
    "deberta-v2": "attention scores between tokens and relative positions (disentangled attention)",
    "deepseek_v3": "sigmoid routing of experts with a correction bias",
    "dots1": "sigmoid routing of experts with a correction bias",
    "esm": "embeddings scaled by the fraction of masked tokens",
    "exaone_moe": "sigmoid routing of experts with a correction bias",
    "fsmt": "a decoder without a causal mask, as the native one is by default",
    "glm4_moe": "sigmoid routing of experts with a correction bias",
    "gpt_oss": "experts with biases and a clamped activation",
    "gemma3": "an encoder of images",
    "hunyuan_v1_moe": "a shared expert without a gate",
    "internlm2": "the layout of its own code, which transformers does not have",
    "led": "global attention with its own projections",
    "minimax_m2": "sigmoid routing of experts with a correction bias",
    "mobilebert": "bottleneck layers, and norms without statistics",
    "mpnet": "learned positions together with a relative bias",
    "nllb-moe": "ungated experts with biases",
    "pegasus_x": "learned global tokens",
    "phi-msft": "the layout of its former code (newer revisions of the checkpoint are phi)",
    "phimoe": "experts weighed by two masked softmaxes (SparseMixer)",
    "prophetnet": "decoder streams that predict several tokens ahead",
    "solar_open": "sigmoid routing of experts with a correction bias",
    "squeezebert": "grouped convolutions as projections",
    "switch_transformers": "experts with a capacity, beyond which tokens are dropped",
    "t5gemma2": "one softmax over self-attention and cross-attention keys",
    "umt5": "a relative bias table in every layer",
}


# Native model types that transformers opens with the classes of another -> that other.
SAME_CLASSES = {"gpt-sw3": "gpt2"}


def is_supported(model_type: str | None) -> bool:
    """Whether checkpoints of a native model type can be converted."""
    return SAME_CLASSES.get(model_type or "", model_type) in FAMILIES


def get_family(model_type: str) -> Family:
    """The family of a native model type. Raises ConversionError with the feature that we lack, or with all families."""
    model_type = SAME_CLASSES.get(model_type, model_type)
    if model_type in FAMILIES:
        return FAMILIES[model_type]
    if model_type in UNSUPPORTED:
        raise ConversionError(f"{model_type} cannot be converted: hf_tfm does not have {UNSUPPORTED[model_type]}.")
    raise ConversionError(f"{model_type} is not a supported family; supported: {', '.join(sorted(FAMILIES))}.")


def family_of(native: Any) -> Family:
    """The family of a native configuration. A decoder whose attention has no direction is an encoder of ours. Raises
    ConversionError as `get_family` does."""
    family = get_family(native.model_type)
    return as_encoder(family, native) if is_bidirectional(native, family) else family
