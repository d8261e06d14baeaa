"""Fields of the attention."""

from dataclasses import dataclass

from .attention import OUTPUT_GATES
from .conditional_fields import only_with, written_if_chosen
from .field_values import MAX_ROWS, dropout, one_of, scale, size
from .normalization import QK_NORM_POSITIONS, QK_NORMS


@dataclass(kw_only=True, repr=False, eq=False)
class AttentionFields:
    """Self-attention and cross-attention."""

    qkv_bias: bool = False
    out_bias: bool = False
    # norm of queries and keys: per head with one weight, with a weight per head, or over the whole projected width
    qk_norm: str = one_of(QK_NORMS, default="none")
    # whether the rotation reads normed heads, or the norm rotated ones (Hunyuan, nanochat)
    qk_norm_position: str = only_with(
        one_of(QK_NORM_POSITIONS, default="before_rotation"),
        position_type="rotary",
        qk_norm=("head", "heads", "width"),
    )
    attention_scale: float | int | None = scale(None)  # multiplies q.k; None: head_dim ** -0.5
    attn_logit_softcapping: float | int | None = scale(None)  # c: scores become c tanh(score / c) (Gemma-2)
    # multiplies heads' outputs by sigmoid(W x): none, one gate per head, or one per element of each head
    attention_output_gate: str = written_if_chosen(one_of(OUTPUT_GATES, default="none"))
    # values of a layer are a learned mix of its own and the first layer's; not of cross-attention
    value_residual: bool = written_if_chosen(False)
    attention_sinks: bool = False  # one learned extra logit per head in the softmax (gpt-oss)
    # tokens; causal: W keys, the query included; bidirectional: |i - j| <= W
    sliding_window: int | None = size(None, MAX_ROWS)
    # "full_attention" or "sliding_attention" for each layer; None: all sliding if sliding_window is set, else all full
    layer_types: list[str] | None = None
    attention_dropout: float | int = dropout(default=0.0)
