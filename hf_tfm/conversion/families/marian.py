"""Marian, Pegasus and M2M-100 (NLLB): BART's parameter names with sinusoidal positions."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..errors import ConversionError
from ..family import ConfigMapping, Family, same_names, without
from ..parity_check import stored_dtype
from ..weight_map import rule
from ..weight_transforms import Transform
from .bart import (
    BART_DROPOUT,
    BART_EMBEDDING_SCALE,
    BART_FIELDS,
    BART_HEADS,
    BART_IGNORED_FIELDS,
    LAYERDROP,
    PRE_NORM_FIELDS,
    bart_base,
)
from .t5 import DECODER_START

__all__ = ["FAMILIES", "sinusoidal_table_of"]


def sinusoidal_table(length: int, width: int) -> Tensor:
    """The native table (length, width), computed in float64 as in the native class."""
    exponents = torch.arange(0, width, 2, dtype=torch.float64) / width
    angles = torch.arange(length, dtype=torch.float64)[:, None] / 10000**exponents
    return torch.cat((angles.sin(), angles.cos()), dim=-1).float()


def sinusoidal_table_of(width_field: str) -> Transform:
    """A table of sinusoids (max_position_embeddings, width), natively a parameter, computed in our model.
    `width_field`: the field of our configuration with the width."""

    def check_table(tensors: list[Tensor], config: Any) -> list[Tensor]:
        for table in tensors:
            # rounded, if the checkpoint was ever saved in half precision
            tolerance = max(1e-6, torch.finfo(stored_dtype(table)).eps)
            if not torch.allclose(table.float(), create_table([], config)[0].to(table.device), rtol=0, atol=tolerance):
                raise ConversionError("The positions of this family are sinusoids, but this table has other values.")
        return []

    def create_table(tensors: list[Tensor], config: Any) -> list[Tensor]:
        return [sinusoidal_table(config.max_position_embeddings, getattr(config, width_field))]

    return Transform(check_table, create_table)


SINUSOIDAL_TABLE = sinusoidal_table_of("hidden_size")
POSITION_TABLES = (
    rule("encoder.embed_positions.weight", (), SINUSOIDAL_TABLE),
    rule("decoder.embed_positions.weight", (), SINUSOIDAL_TABLE),
)

FIELDS = without(BART_FIELDS, "classifier_dropout")
SINUSOIDAL_FIELDS = {
    "position_type": "sinusoidal", "position_offset": 0, "embedding_norm": "none", "bos_token_id": None,
}  # fmt: skip
MARIAN = Family(
    name="marian",
    our_model_type="tfm_seq2seq",
    recipe="bart",
    base_weights=(
        *POSITION_TABLES,
        *bart_base("post_norm"),
        # for two vocabularies
        *(rule(f"{stack}.embed_tokens", f"{stack}.embed_tokens") for stack in ("encoder", "decoder")),
    ),
    head_weights={head: BART_HEADS[head] for head in ("base", "seq2seq-lm")},
    fixed_fields=SINUSOIDAL_FIELDS,
    field_map={
        **FIELDS,
        **same_names("decoder_vocab_size"),
        "share_encoder_decoder_embeddings": "tie_encoder_decoder_embeddings",
    },
    config_mappings=(BART_DROPOUT, BART_EMBEDDING_SCALE, DECODER_START),
    required_values={"is_decoder": False},
    ignored_fields=BART_IGNORED_FIELDS,
)
PEGASUS = replace(
    MARIAN,
    name="pegasus",
    base_weights=(*POSITION_TABLES, *bart_base("pre_norm")),
    fixed_fields={**PRE_NORM_FIELDS, **SINUSOIDAL_FIELDS},
    field_map=FIELDS,
)
# positions start after the padding id; the table is not a parameter
OFFSET_FROM_PADDING_ID = ConfigMapping(lambda native: {"position_offset": native.pad_token_id + 1})
M2M_100 = replace(
    PEGASUS,
    name="m2m_100",
    base_weights=bart_base("pre_norm"),
    head_weights={"base": (), "seq2seq-lm": (rule("lm_head", "lm_head"),)},
    fixed_fields={**PEGASUS.fixed_fields, "sinusoid_type": "half_minus_one", "lm_head_bias": False},
    config_mappings=(BART_DROPOUT, BART_EMBEDDING_SCALE, DECODER_START, OFFSET_FROM_PADDING_ID),
    required_values={},
    ignored_fields=LAYERDROP,
)

FAMILIES = (MARIAN, PEGASUS, M2M_100)
