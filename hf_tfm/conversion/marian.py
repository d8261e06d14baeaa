"""Marian, Pegasus and M2M-100 (NLLB): BART's names with sinusoidal positions."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .bart import BART_DROPOUT, BART_FIELDS, BART_HEADS, BART_SCALE, IGNORED, LAYERDROP, PRE_WORDS, bart_trunk
from .family import Computed, Family
from .layer_kinds import without
from .rows import Change, ConversionError, Row, row
from .t5 import START

__all__ = ["FAMILIES"]


def sinusoids(config: Any) -> Tensor:
    """The native table (max_position_embeddings, C), computed in float64 as it is there."""
    steps = torch.arange(0, config.hidden_size, 2, dtype=torch.float64) / config.hidden_size
    places = torch.arange(config.max_position_embeddings, dtype=torch.float64)
    phase = places[:, None] / 10000**steps
    return torch.cat((phase.sin(), phase.cos()), dim=-1).float()


def only_sinusoids(tensors: list[Tensor], config: Any) -> list[Tensor]:
    for table in tensors:
        tolerance = max(1e-6, torch.finfo(table.dtype).eps)
        if not torch.allclose(table.float(), sinusoids(config).to(table.device), rtol=0, atol=tolerance):
            raise ConversionError("The family's positions are sinusoids, but this table holds other numbers.")
    return []


# a table in the file for what we compute
SINUSOIDS = Change(only_sinusoids, lambda tensors, config: [sinusoids(config)])
TABLES = tuple(row(f"{side}.embed_positions.weight", (), SINUSOIDS) for side in ("encoder", "decoder"))


def sinusoidal_trunk(seat: str) -> tuple[Row, ...]:
    return (*TABLES, *bart_trunk(seat))


FIELDS = without(BART_FIELDS, "classifier_dropout")
SINUSOIDAL = {"position_type": "sinusoidal", "position_offset": 0, "embedding_norm": "none", "bos_token_id": None}
MARIAN = Family(
    name="marian",
    architecture="tfm_seq2seq",
    recipe="bart",
    trunk=(
        *sinusoidal_trunk("after"),
        # two vocabularies
        *(row(f"{side}.embed_tokens", f"{side}.embed_tokens") for side in ("encoder", "decoder")),
    ),
    heads={head: BART_HEADS[head] for head in ("base", "seq2seq-lm")},
    words=SINUSOIDAL,
    fields={
        **FIELDS,
        "decoder_vocab_size": "decoder_vocab_size",
        "share_encoder_decoder_embeddings": "tie_encoder_decoder_embeddings",
    },
    computed=(BART_DROPOUT, BART_SCALE, START),
    required={"is_decoder": False},
    ignored=IGNORED,
)
PEGASUS = replace(
    MARIAN,
    name="pegasus",
    trunk=sinusoidal_trunk("before"),
    words={**PRE_WORDS, **SINUSOIDAL},
    fields=FIELDS,
)
# positions are counted behind the id of padding, and the table is not in the file
FROM_PAD = Computed(lambda native: {"position_offset": native.pad_token_id + 1})
M2M_100 = replace(
    PEGASUS,
    name="m2m_100",
    trunk=bart_trunk("before"),
    heads={"base": (), "seq2seq-lm": (row("lm_head", "lm_head"),)},
    words={**PEGASUS.words, "sinusoid_type": "half_minus_one", "lm_head_bias": False},
    computed=(BART_DROPOUT, BART_SCALE, START, FROM_PAD),
    required={},
    ignored=LAYERDROP,
)

FAMILIES = (MARIAN, PEGASUS, M2M_100)
