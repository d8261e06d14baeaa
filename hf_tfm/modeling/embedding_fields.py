"""Fields of the word embeddings."""

from dataclasses import dataclass
from typing import Literal

from .field_values import dropout, scale, size


@dataclass(kw_only=True, repr=False, eq=False)
class EmbeddingFields:
    """From token ids to what the first block reads."""

    # None: hidden_size; otherwise tables of this width and a projection (ELECTRA)
    embedding_size: int | None = size(None)
    embedding_scale: float | int = scale(1.0)  # multiplies word vectors; given `inputs_embeds` count as scaled
    embedding_norm: Literal["none", "before_positions", "after_positions"] = "none"
    embedding_dropout: float | int = dropout(default=0.0)
