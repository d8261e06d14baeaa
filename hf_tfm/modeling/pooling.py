"""Pooling: which token or tokens the vector of a sequence comes from, one class per value of `pooling`.

Legend: B batch, T tokens, S keys, C hidden size.
"""

from typing import Any

import torch
from torch import nn
from transformers.utils.import_utils import torch_compilable_check

from .masks import is_padding_mask


def select_token(hidden_states: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """One token of each row: (B, T, C) and (B,) to (B, C)."""
    return hidden_states[torch.arange(hidden_states.shape[0], device=hidden_states.device), index]


def last_true(flags: torch.Tensor) -> torch.Tensor:
    """Index (B,) of the last true entry of each row (B, T); 0 where there is none."""
    return (torch.arange(flags.shape[1], device=flags.device) * flags).argmax(-1)


class Pooling(nn.Module):
    """Base of all poolings. Which tokens are real is said by the mask (B, S) where one is given: of keys that a cache
    holds, too, so its last T entries count. Without a mask every token counts whose id is not the padding id that the
    configuration holds at the time; without ids or a padding id, every token.

    GPT-2's and Llama's classifiers go by the ids even beside a mask. Where padding has the id of a word (the end of
    sequence, often), or the padding id was changed, only the mask knows, so here it decides; the two differ in rows
    whose last real token has the padding id."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    def real_tokens(self, hidden_states: torch.Tensor, input_ids: Any, attention_mask: Any) -> torch.Tensor | None:
        """Flags (B, T) of the real tokens among hidden states (B, T, C); None where all count."""
        if is_padding_mask(attention_mask):
            return attention_mask[:, -hidden_states.shape[1] :].bool()
        pad = self.config.pad_token_id
        return None if input_ids is None or pad is None else input_ids != pad

    def forward(self, hidden_states: torch.Tensor, input_ids: Any, attention_mask: Any) -> torch.Tensor:
        """One vector (B, C) of hidden states (B, T, C)."""
        raise NotImplementedError


class FirstToken(Pooling):
    """The first real token (BERT's [CLS]): under left padding that is not column 0."""

    def forward(self, hidden_states: torch.Tensor, input_ids: Any, attention_mask: Any) -> torch.Tensor:
        real = self.real_tokens(hidden_states, input_ids, attention_mask)
        return hidden_states[:, 0] if real is None else select_token(hidden_states, real.long().argmax(-1))


class MeanOfTokens(Pooling):
    """The mean of the real tokens; zero for a row without one."""

    def forward(self, hidden_states: torch.Tensor, input_ids: Any, attention_mask: Any) -> torch.Tensor:
        real = self.real_tokens(hidden_states, input_ids, attention_mask)
        if real is None:
            return hidden_states.mean(1)
        weights = real.to(hidden_states.dtype)
        return (hidden_states * weights[..., None]).sum(1) / weights.sum(1, keepdim=True).clamp(min=1)


class LastToken(Pooling):
    """The last real token; the first column of a row without one."""

    def forward(self, hidden_states: torch.Tensor, input_ids: Any, attention_mask: Any) -> torch.Tensor:
        real = self.real_tokens(hidden_states, input_ids, attention_mask)
        return hidden_states[:, -1] if real is None else select_token(hidden_states, last_true(real))


class LastEos(Pooling):
    """The last end-of-sequence token (T5, BART), by the ids that the configuration holds at the time; beside a mask,
    the last one that is real. Raises ValueError for a row without one, without input ids, or without such an id."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.eos_token_ids()

    def eos_token_ids(self) -> list[int]:
        eos = self.config.eos_token_id
        if eos is None:
            raise ValueError('pooling="last_eos" needs eos_token_id in the configuration.')
        return eos if isinstance(eos, list) else [eos]

    def forward(self, hidden_states: torch.Tensor, input_ids: Any, attention_mask: Any) -> torch.Tensor:
        if input_ids is None:
            raise ValueError('pooling="last_eos" finds the token by its id: give input ids, not vectors.')
        found = torch.stack([input_ids == eos for eos in self.eos_token_ids()]).any(0)
        if is_padding_mask(attention_mask):
            found = found & attention_mask[:, -hidden_states.shape[1] :].bool()
        torch_compilable_check(
            found.any(-1).all(), f"Every row needs an end-of-sequence token {self.eos_token_ids()} to pool at."
        )
        return select_token(hidden_states, last_true(found))


# value of `pooling` -> class, built from (config)
POOLINGS: dict[str, type[nn.Module]] = {
    "first": FirstToken,
    "mean": MeanOfTokens,
    "last_token": LastToken,
    "last_eos": LastEos,
    "late": MeanOfTokens,
}
