"""Fields of the positions."""

from dataclasses import dataclass
from typing import Literal

from transformers.modeling_rope_utils import RopeParameters

from .conditional_fields import only_with, written_if_chosen
from .field_values import MAX_ROWS, between, one_of, rope_dictionary, scale, size
from .position import POSITIONS


@dataclass(kw_only=True, repr=False, eq=False)
class PositionFields:
    """How the order of tokens is told."""

    position_type: str = one_of(POSITIONS, default="rotary")
    # added to every position before the table or formula (OPT and BART 2, RoBERTa pad + 1)
    position_offset: int = only_with(between(0, MAX_ROWS, 0), position_type=("learned", "sinusoidal"))
    # exponent k / (d/2) (Marian) or k / (d/2 - 1) (M2M-100)
    sinusoid_type: Literal["half", "half_minus_one"] = only_with("half", position_type="sinusoidal")
    # as in transformers, or one such dictionary per layer type
    rope_parameters: RopeParameters | dict | None = only_with(rope_dictionary(default=None), position_type="rotary")
    rope_layers: list[bool] | None = only_with(None, position_type="rotary")  # layers that rotate; None: all (SmolLM3)
    # T5; tokens farther than the distance share the last bucket
    relative_attention_num_buckets: int = only_with(size(32), position_type="relative_bias")
    relative_attention_max_distance: int = only_with(size(128, MAX_ROWS), position_type="relative_bias")
    # b: queries of self-attention at position p are multiplied by 1 + b log(1 + floor(p / length)) (Ministral 3)
    query_temperature: float | int | None = written_if_chosen(scale(None))
    query_temperature_length: int | None = written_if_chosen(size(None, MAX_ROWS))  # None: max_position_embeddings
