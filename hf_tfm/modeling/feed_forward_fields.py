"""Fields of the position-wise feed-forward and its experts."""

from dataclasses import dataclass

from transformers.utils.type_validators import activation_fn_key

from .conditional_fields import only_with
from .feed_forward import FEED_FORWARDS
from .field_values import MAX_FACTOR, between, dropout, one_of, size


@dataclass(kw_only=True, repr=False, eq=False)
class FeedForwardFields:
    """Feed-forward and mixture of experts."""

    mlp_type: str = one_of(FEED_FORWARDS, default="gated")
    hidden_act: str = activation_fn_key(default="silu")
    mlp_bias: bool = False
    activation_dropout: float | int = dropout(default=0.0)  # after the activation, inside the feed-forward
    num_experts: int = only_with(size(8), mlp_type="moe")
    num_experts_per_tok: int = only_with(size(2), mlp_type="moe")
    # whether the chosen experts' probabilities are divided by their sum
    norm_topk_prob: bool = only_with(True, mlp_type="moe")
    moe_intermediate_size: int | None = only_with(size(None), mlp_type="moe")  # None: intermediate_size
    moe_layers: list[bool] | None = only_with(None, mlp_type="moe")  # which layers hold experts; None: all
    shared_expert_intermediate_size: int | None = only_with(size(None), mlp_type="moe")  # None: no shared expert
    # weight of the load-balancing loss beside the language-model loss
    router_aux_loss_coef: float | int = only_with(between(0, MAX_FACTOR, 0.01), mlp_type="moe")
    # record router logits without labels too (with labels they always are)
    output_router_logits: bool = only_with(False, mlp_type="moe")
