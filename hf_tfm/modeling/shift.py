"""From labels, or from the source, to decoder inputs: one function per word of `decoder_shift`."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from transformers.utils.import_utils import is_tracing

from .heads import last_true
from .loss import IGNORE_INDEX


def start_token(ids: torch.Tensor, start: int, pad: int) -> torch.Tensor:
    """The start token in front, the last token dropped (T5, BART)."""
    shifted = torch.cat((torch.full_like(ids[:, :1], start), ids[:, :-1]), dim=-1)
    return shifted.masked_fill(shifted == IGNORE_INDEX, pad)


def wrap_last_non_pad(ids: torch.Tensor, start: int, pad: int) -> torch.Tensor:
    """The last real token, a language code, moved to the front (mBART, PLBART)."""
    ids = ids.masked_fill(ids == IGNORE_INDEX, pad)
    return torch.cat((ids.gather(1, last_true(ids != pad)[:, None]), ids[:, :-1]), dim=-1)


def refuse(ids: torch.Tensor, missing: str) -> torch.Tensor:
    raise ValueError(
        f"{missing} is not set in the configuration, so labels or source cannot be shifted into decoder inputs; "
        "set it, or give decoder_input_ids."
    )


def read_targets(mask: Any, position_ids: Any, labels: torch.Tensor | None, lean: bool) -> Any:
    """The given mask of target tokens (B, T); where only a lean loss is asked for and there is none, one that leaves
    out what comes after a row's last label: nothing reads it. A row keeps its first token. Given positions may tell
    documents apart, which a mask would join."""
    if mask is not None or position_ids is not None or labels is None or not lean or is_tracing(labels):
        return mask
    following = labels.ne(IGNORE_INDEX).long().flip(-1).cumsum(-1).flip(-1)
    return following.gt(0).index_fill(-1, following.new_zeros(1), True).long()


def read_all(mask: Any, position_ids: Any, labels: torch.Tensor | None, lean: bool) -> Any:
    """The given mask: where there are experts, their balance counts every token."""
    return mask


SHIFTS = {
    "start_token": (start_token, "decoder_start_token_id"),
    "wrap_last_non_pad": (wrap_last_non_pad, "pad_token_id"),
}


def make_shift(config: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """The configured shift of ids (B, T); one that raises ValueError where the id it needs is missing."""
    shift, needed = SHIFTS[config.decoder_shift]
    if getattr(config, needed) is None:
        return partial(refuse, missing=needed)
    start = config.decoder_start_token_id
    # a padded decoder input is never scored, so any id serves where there is no padding id
    return partial(shift, start=start, pad=start if config.pad_token_id is None else config.pad_token_id)
