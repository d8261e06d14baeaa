"""From labels, or from the source, to decoder inputs. Legend: B batch, T tokens."""

from typing import Any, NoReturn

import torch
from transformers.utils.import_utils import is_tracing

from .loss import IGNORE_INDEX
from .masks import is_padding_mask
from .pooling import last_true


class ShiftRight:
    """The start token in front, the last token dropped (T5, BART)."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.reads_source = config.decoder_vocab_size == config.vocab_size

    def from_labels(self, labels: torch.Tensor) -> torch.Tensor:
        """Decoder input ids (B, T) for labels or source ids (B, T). Raises ValueError where the configuration lacks the
        token id that the shift needs."""
        start, pad = self.config.decoder_start_token_id, self.config.pad_token_id
        if start is None:
            raise_missing_id("decoder_start_token_id")
        shifted = torch.cat((torch.full_like(labels[:, :1], start), labels[:, :-1]), dim=-1)
        # a padded decoder input is never scored, so any id serves where there is no padding id
        return shifted.masked_fill(shifted == IGNORE_INDEX, start if pad is None else pad)

    def from_source(self, input_ids: torch.Tensor | None, attention_mask: Any) -> tuple[torch.Tensor, Any]:
        """The shifted source and its mask, as decoder inputs: the token before the first real one takes its place, so
        that padding on either side changes nothing. Raises ValueError without ids, and where source and target have
        vocabularies of their own."""
        if input_ids is None:
            raise ValueError("Without input_ids, give decoder_input_ids or decoder_inputs_embeds.")
        if not self.reads_source:
            raise ValueError(
                f"vocab_size={self.config.vocab_size} and decoder_vocab_size={self.config.decoder_vocab_size} differ, "
                "so the decoder cannot read the source: give decoder_input_ids."
            )
        shifted = self.from_labels(input_ids)
        if not is_padding_mask(attention_mask):
            return shifted, None
        first = attention_mask.long().argmax(-1, keepdim=True)
        return shifted.scatter(-1, first, shifted[:, :1]), attention_mask


class WrapLastNonPad(ShiftRight):
    """The last real token, a language code, moved to the front (mBART, PLBART)."""

    def from_labels(self, labels: torch.Tensor) -> torch.Tensor:
        pad = self.config.pad_token_id
        if pad is None:
            raise_missing_id("pad_token_id")
        ids = labels.masked_fill(labels == IGNORE_INDEX, pad)
        return torch.cat((ids.gather(1, last_true(ids != pad)[:, None]), ids[:, :-1]), dim=-1)


# value of `decoder_shift` -> class, built from (config)
DECODER_SHIFTS: dict[str, type[ShiftRight]] = {"start_token": ShiftRight, "wrap_last_non_pad": WrapLastNonPad}


def raise_missing_id(name: str) -> NoReturn:
    raise ValueError(
        f"{name} is not set in the configuration, so labels or source cannot be shifted into decoder inputs; set it, "
        "or give decoder_input_ids."
    )


def mask_after_last_label(labels: torch.Tensor) -> torch.Tensor | None:
    """A mask (B, T) that hides what comes after a row's last label, which no scored token reads; a row keeps its first
    token. None while tracing, where values cannot be read."""
    if is_tracing(labels):
        return None
    following = labels.ne(IGNORE_INDEX).long().flip(-1).cumsum(-1).flip(-1)
    return following.gt(0).index_fill(-1, following.new_zeros(1), True).long()
