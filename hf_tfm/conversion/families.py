"""Every native family that is converted, and those that are refused with what the block lacks."""

from . import (
    bart,
    bert,
    distilbert,
    eurobert,
    experts,
    gemma,
    gpt2,
    gptj,
    granite,
    interleaved,
    llama,
    marian,
    modernbert,
    neox,
    nomic_bert,
    norms_inside,
    olmo,
    opt,
    phi3,
    qwen,
    roberta,
    stablelm,
    t5,
    t5gemma,
)
from .family import Family
from .rows import ConversionError

__all__ = ["FAMILIES", "REFUSED", "family_named"]

MODULES = (
    bert, roberta, distilbert, modernbert, nomic_bert, eurobert, gpt2, gptj, neox, opt, stablelm, olmo,
    llama, qwen, interleaved, gemma, norms_inside, phi3, experts, granite,
    t5, bart, marian, t5gemma,
)  # fmt: skip
FAMILIES: dict[str, Family] = {family.name: family for module in MODULES for family in module.FAMILIES}

# native model type -> the one feature that the block lacks
REFUSED: dict[str, str] = {
    "albert": "layers that share their weights",
    "apertus": "the activation xIELU, whose numbers are learned",
    "bitnet": "norms in the middle of attention and feed-forward",
    "blenderbot-small": "a norm of embeddings in another seat in the decoder than in the encoder",
    "deberta": "scores from queries and keys against a table of relative positions",
    "deberta-v2": "scores from queries and keys against a table of relative positions",
    "deepseek_v3": "experts chosen by sigmoids with a correction",
    "dots1": "experts chosen by sigmoids with a correction",
    "esm": "word vectors scaled by the share of masked tokens",
    "exaone_moe": "experts chosen by sigmoids with a correction",
    "fsmt": "a decoder that sees what follows, as the native one does by default",
    "glm4_moe": "experts chosen by sigmoids with a correction",
    "gpt_oss": "experts with biases and a clamped activation",
    "hunyuan_v1_dense": "norms of queries and keys behind the rotation",
    "hunyuan_v1_moe": "norms of queries and keys behind the rotation",
    "led": "global tokens with projections of their own",
    "minimax_m2": "experts chosen by sigmoids with a correction",
    "ministral3": "queries that grow with their position",
    "mobilebert": "branches narrower than the stream they are added to, each with norms without statistics",
    "mpnet": "two position schemes at once: learned vectors and a relative bias",
    "nllb-moe": "experts that are plain feed-forwards with biases",
    "pegasus_x": "learned global tokens beside the words",
    "prophetnet": "streams of the decoder that predict several tokens ahead",
    "solar_open": "experts chosen by sigmoids with a correction",
    "squeezebert": "projections in groups of channels",
    "switch_transformers": "experts with a capacity, beyond which tokens are dropped",
    "t5gemma2": "one softmax over the decoder's own keys and the encoder's",
    "umt5": "a table of relative positions in every layer",
}


def family_named(name: str) -> Family:
    """The family of a native model type. Raises ConversionError with what is in the way, or the list of families."""
    if name in FAMILIES:
        return FAMILIES[name]
    if name in REFUSED:
        raise ConversionError(f"{name} cannot be said in our block, which lacks {REFUSED[name]}.")
    raise ConversionError(f"{name} is not among the families that are converted: {', '.join(sorted(FAMILIES))}.")
