"""ModernBERT."""

from typing import Any

from .bert import CLASSIFIER
from .family import Computed, Family
from .layer_kinds import TYPED_ROPE
from .llama import ALL_ATTENTION_BIASES
from .rows import BLOCKS, GATE_UP, ConversionError, Row, row

__all__ = ["FAMILIES", "pooled_as"]


def pooled_as(words: dict[str, str]) -> Computed:
    """`classifier_pooling`, native word -> ours."""
    back = {ours: native for native, ours in words.items()}

    def pooling(native: Any) -> dict[str, str]:
        word = native.classifier_pooling
        if word not in words:
            raise ConversionError(f"classifier_pooling={word!r} cannot be said in our block; {', '.join(words)} can.")
        return {"pooling": words[word]}

    def classifier_pooling(ours: Any) -> dict[str, str]:
        return {"classifier_pooling": back[ours.pooling]} if ours.pooling in back else {}

    return Computed(pooling, classifier_pooling, ("classifier_pooling",))


def dense(ours: str) -> tuple[Row, ...]:
    """The dense layer and norm that stand before every way out."""
    return (row("head.dense", f"{ours}.dense"), row("head.norm", f"{ours}.norm"))


POOLED = (*dense("model.pooler.transform"), *CLASSIFIER)
MODERNBERT = Family(
    name="modernbert",
    architecture="tfm_encoder",
    trunk=(
        row("embeddings.tok_embeddings", "embed_tokens"),
        row("embeddings.norm", "embed_norm"),
        row("layers.{}.attn_norm", "layers.{}.self_attn_residual.before"),
        row(
            "layers.{}.attn.Wqkv",
            ("layers.{}.self_attn.q_proj", "layers.{}.self_attn.k_proj", "layers.{}.self_attn.v_proj"),
            BLOCKS,
        ),
        row("layers.{}.attn.Wo", "layers.{}.self_attn.o_proj"),
        row("layers.{}.mlp_norm", "layers.{}.mlp_residual.before"),
        row("layers.{}.mlp.Wi", ("layers.{}.mlp.gate_proj", "layers.{}.mlp.up_proj"), GATE_UP),
        row("layers.{}.mlp.Wo", "layers.{}.mlp.down_proj"),
        row("final_norm", "norm"),
    ),
    heads={
        "base": (),
        "masked-lm": (*dense("lm_transform"), row("decoder", "lm_head")),
        "sequence-classification": POOLED,
        "token-classification": (*dense("transform"), *CLASSIFIER),
        "question-answering": (*dense("transform"), row("classifier", "qa_outputs")),
        "multiple-choice": POOLED,
    },
    words={
        "norm_type": "layer_norm", "first_layer_norm": False, "embedding_norm": "after_positions",
        "lm_head_type": "transform", "classifier_dense": "all", "classifier_norm": True,
    },
    fields={
        **{
            name: name
            for name in (
                "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                "max_position_embeddings", "initializer_range", "norm_eps", "norm_bias", "layer_types",
                "attention_dropout", "embedding_dropout", "mlp_bias", "classifier_dropout", "tie_word_embeddings",
            )
        },
        "hidden_activation": "hidden_act", "mlp_dropout": "activation_dropout", "decoder_bias": "lm_head_bias",
        "classifier_bias": "head_dense_bias",
    },
    computed=(
        ALL_ATTENTION_BIASES,
        TYPED_ROPE,
        Computed(
            lambda native: dict.fromkeys(("lm_head_act", "classifier_act"), native.classifier_activation),
            lambda ours: {"classifier_activation": ours.classifier_act},
            ("classifier_activation",),
        ),
        # the native window is the whole of it, ours is one side
        Computed(
            lambda native: {"sliding_window": native.local_attention // 2},
            lambda ours: {"local_attention": 2 * ours.sliding_window} if ours.sliding_window else {},
            ("local_attention",),
        ),
        pooled_as({"cls": "first", "mean": "mean"}),
    ),
    required={"sparse_prediction": False},
    ignored={
        "sparse_pred_ignore_index": "of sparse predictions", "initializer_cutoff_factor": "initial weights alone",
        "deterministic_flash_attn": "of gradients in flash attention",
        **dict.fromkeys(("cls_token_id", "sep_token_id"), "of the tokenizer"),
    },
)  # fmt: skip

FAMILIES = (MODERNBERT,)
