"""Fields of the attention."""

from dataclasses import dataclass

from .field_values import MAX_ROWS, dropout, one_of, scale, size
from .normalization import QK_NORMS


@dataclass(kw_only=True, repr=False, eq=False)
class AttentionFields:
    """Self-attention and cross-attention."""

    qkv_bias: bool = False
    out_bias: bool = False
    # norm of queries and keys: per head with one weight, with a weight per head, or over the whole projected width
    qk_norm: str = one_of(QK_NORMS, default="none")
    attention_scale: float | int | None = scale(None)  # multiplies q.k; None: head_dim ** -0.5
    attn_logit_softcapping: float | int | None = scale(None)  # c: scores become c tanh(score / c) (Gemma-2)
    attention_sinks: bool = False  # one learned extra logit per head in the softmax (gpt-oss)
    # tokens; causal: W keys, the query included; bidirectional: |i - j| <= W
    sliding_window: int | None = size(None, MAX_ROWS)
    # "full_attention" or "sliding_attention" for each layer; None: all sliding if sliding_window is set, else all full
    layer_types: list[str] | None = None
    attention_dropout: float | int = dropout(default=0.0)
