"""Fields of the residual wiring, the norms, and the initial weights."""

from dataclasses import dataclass

from .block import WIRINGS
from .conditional_fields import only_with, written_if_chosen
from .depth_scaling import DEPTH_SCALINGS
from .field_values import between, dropout, one_of, scale, size
from .normalization import NORMS
from .width_scaling import WIDTH_SCALINGS


@dataclass(kw_only=True, repr=False, eq=False)
class ResidualFields:
    """How branches are normed, weighted and added."""

    residual_type: str = one_of(WIRINGS, default="pre")
    residual_scale: float | int = scale(1.0)  # multiplies every branch before it is added (Granite)
    # a weight per channel on every branch, learned from this value on (CaiT); None: none
    layer_scale_init_value: float | int | None = written_if_chosen(scale(None))
    norm_type: str = one_of(NORMS, default="rms_norm")
    norm_eps: float | int = between(0, 1, default=1e-6, above=True)
    norm_bias: bool = True  # layer norms with weights only; other norms have none
    first_layer_norm: bool = True  # False: the first block's attention reads its input as it is (ModernBERT)
    hidden_dropout: float | int = dropout(default=0.0)  # on every branch, before it is added
    # none; scaled: output projections start 1/sqrt(2 L) smaller (GPT-2); deepnorm: alpha and beta of Wang et al. 2022
    depth_scaling: str = one_of(DEPTH_SCALINGS, default="none")
    # mup: initial weights, scores, logits and learning rates follow the width; see `MaximalUpdate` in width_scaling.py
    width_scaling: str = one_of(WIDTH_SCALINGS, default="none")
    mup_base_width: int = only_with(size(256), width_scaling="mup")  # hidden_size at which all its factors are 1
    mup_base_head_dim: int | None = only_with(size(None), width_scaling="mup")  # the same of head_dim; None: head_dim
    initializer_range: float | int = between(0, 1, default=0.02, above=True)  # standard deviation
