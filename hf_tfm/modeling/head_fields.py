"""Fields of the heads."""

from dataclasses import dataclass
from typing import Literal

from transformers.utils.type_validators import activation_fn_key

from .field_values import MAX_FACTOR, between, dropout, one_of, scale
from .pooling import POOLINGS


@dataclass(kw_only=True, repr=False, eq=False)
class HeadFields:
    """From hidden states to logits, labels and vectors."""

    lm_head_type: Literal["linear", "transform"] = "linear"  # transform: dense, activation, norm before the vocabulary
    lm_head_act: str = activation_fn_key(default="gelu")
    lm_head_bias: bool = False
    logit_scale: float | int = scale(1.0)  # multiplies the logits
    final_logit_softcapping: float | int | None = scale(None)
    # in training, adds this times the mean square of logsumexp(logits) to a language model's loss (PaLM: 1e-4); 0: none
    z_loss_coef: float | int = between(0, MAX_FACTOR, default=0.0)
    pooling: str = one_of(POOLINGS, default="first")  # which token(s) a sequence's vector comes from
    # dense layer + activation on a classifier's pooled vector; also on its tokens (ModernBERT), or in text embeddings
    classifier_dense: Literal["none", "pooled", "all", "embedding"] = "none"
    classifier_act: str = activation_fn_key(default="tanh")
    classifier_norm: bool = False  # a norm after that activation
    head_dense_bias: bool = True  # bias of the dense layers of both heads
    classifier_bias: bool = True
    classifier_dropout: float | int | None = dropout(default=None)  # None: hidden_dropout
