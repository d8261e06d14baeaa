"""Llama's names around layer norms: StarCoder2, Phi, StableLM, Cohere."""

import dataclasses

from ..modeling.recipes import PLAIN_LAYER_NORM, UNBIASED
from .family import Computed, Family
from .gpt2 import NO_LABELS_BIAS, every_bias
from .interleaved import COHERE2
from .layer_kinds import PARTIAL_ROTARY, WHOLE_HEADS, WINDOW_EVERYWHERE, without
from .llama import (
    ALL_ATTENTION_BIASES,
    ATTENTION,
    DECODER_HEADS,
    EMBEDDING,
    HEAD_DIM,
    LLAMA_FIELDS,
    LLAMA_TRUNK,
    TOKEN_BIAS,
    norm_rows,
    qk_norms,
)
from .rows import INTERLEAVED_NORMS, PER_HEAD, row

__all__ = ["FAMILIES"]

HEADS = without(DECODER_HEADS, "question-answering")
FIELDS = without(LLAMA_FIELDS, "rms_norm_eps", "head_dim")
WORDS = {**NO_LABELS_BIAS, "position_type": "rotary"}


def qk_norm(field: str, word: str) -> Computed:
    """A native switch for norms of queries and keys, of the kind `word`."""
    return Computed(
        lambda native: {"qk_norm": word if getattr(native, field) else "none"},
        lambda ours: {field: ours.qk_norm == word},
        (field,),
    )


STARCODER2 = Family(
    name="starcoder2",
    architecture="tfm_decoder",
    words={**WORDS, **PLAIN_LAYER_NORM},
    trunk=(
        EMBEDDING,
        *norm_rows(),
        *ATTENTION,
        row("layers.{}.mlp.c_fc", "layers.{}.mlp.up_proj"),
        row("layers.{}.mlp.c_proj", "layers.{}.mlp.down_proj"),
    ),
    heads=HEADS,
    head_words=TOKEN_BIAS,
    fields={
        **FIELDS, "norm_epsilon": "norm_eps", "embedding_dropout": "embedding_dropout",
        "residual_dropout": "hidden_dropout",
    },
    computed=(every_bias("use_bias"), HEAD_DIM, WINDOW_EVERYWHERE, WHOLE_HEADS),
)  # fmt: skip

PHI = Family(
    name="phi",
    architecture="tfm_decoder",
    words={**WORDS, **PLAIN_LAYER_NORM, "residual_type": "parallel", "lm_head_bias": True},
    trunk=(
        EMBEDDING,
        row("layers.{}.input_layernorm", "layers.{}.self_attn_residual.before"),
        *ATTENTION[:3],
        row("layers.{}.self_attn.dense", "layers.{}.self_attn.o_proj"),
        *(row(f"layers.{{}}.self_attn.{x}_layernorm", f"layers.{{}}.self_attn.{x}_norm") for x in "qk"),
        row("layers.{}.mlp.fc1", "layers.{}.mlp.up_proj"),
        row("layers.{}.mlp.fc2", "layers.{}.mlp.down_proj"),
        row("final_layernorm", "norm"),
    ),
    heads=HEADS,
    head_words=TOKEN_BIAS,
    fields={**FIELDS, "layer_norm_eps": "norm_eps", "embd_pdrop": "embedding_dropout", "resid_pdrop": "hidden_dropout"},
    computed=(HEAD_DIM, PARTIAL_ROTARY, qk_norm("qk_layernorm", "head")),
)

STABLELM = Family(
    name="stablelm",
    architecture="tfm_decoder",
    words={**WORDS, **UNBIASED, "norm_type": "layer_norm", "mlp_type": "gated"},
    trunk=(
        *LLAMA_TRUNK,
        row("layers.{}.self_attn.q_layernorm.norms.{query}", "layers.{}.self_attn.q_norm", PER_HEAD),
        row("layers.{}.self_attn.k_layernorm.norms.{key}", "layers.{}.self_attn.k_norm", PER_HEAD),
    ),
    heads=HEADS,
    head_words=TOKEN_BIAS,
    fields={
        **FIELDS, "layer_norm_eps": "norm_eps", "use_qkv_bias": "qkv_bias", "hidden_dropout": "hidden_dropout",
    },
    computed=(
        PARTIAL_ROTARY,
        qk_norm("qk_layernorm", "heads"),
        Computed(
            lambda native: {"residual_type": "parallel" if native.use_parallel_residual else "pre"},
            lambda ours: {"use_parallel_residual": ours.residual_type == "parallel"},
            ("use_parallel_residual",),
        ),
    ),
)  # fmt: skip

COHERE = dataclasses.replace(
    COHERE2,
    name="cohere",
    trunk=(*COHERE2.trunk, *qk_norms(INTERLEAVED_NORMS)),
    fields={**FIELDS, "layer_norm_eps": "norm_eps", "logit_scale": "logit_scale"},
    computed=(ALL_ATTENTION_BIASES, HEAD_DIM, WHOLE_HEADS, qk_norm("use_qk_norm", "heads")),
)

FAMILIES = (STARCODER2, PHI, STABLELM, COHERE)
