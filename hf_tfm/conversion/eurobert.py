"""EuroBERT: Llama as an encoder."""

from .bert import CLASSIFIER
from .family import Computed, Family
from .layer_kinds import WHOLE_HEADS, without
from .llama import ALL_ATTENTION_BIASES, LLAMA_FIELDS, LLAMA_TRUNK
from .modernbert import pooled_as
from .rows import row

__all__ = ["FAMILIES"]

EUROBERT = Family(
    name="eurobert",
    architecture="tfm_encoder",
    trunk=LLAMA_TRUNK,
    heads={
        "base": (),
        "masked-lm": (row("lm_head", "lm_head"),),
        "sequence-classification": (
            row("dense", "model.pooler.transform.dense"),
            row("dense", "model.pooler.before.dense"),
            *CLASSIFIER,
        ),
        "token-classification": CLASSIFIER,
    },
    words={"classifier_dense": "pooled", "classifier_act": "gelu"},
    fields={**without(LLAMA_FIELDS, "use_cache"), "mlp_bias": "mlp_bias"},
    computed=(
        ALL_ATTENTION_BIASES,
        WHOLE_HEADS,
        Computed(lambda native: {"lm_head_bias": native.mlp_bias}),
        pooled_as({"bos": "first", "mean": "mean", "late": "late"}),
    ),
    ignored={
        "use_cache": "an encoder has no cache", "mask_token_id": "of the tokenizer",
        "pretraining_tp": "changes the order of sums alone",
    },
)  # fmt: skip

FAMILIES = (EUROBERT,)
