"""From texts to the inputs of a model, and from ids back to what a reader sees.

Legend: T tokens.
"""

from dataclasses import dataclass, field
from typing import Any

import torch

from ..modeling.decoder_inputs import DECODER_SHIFTS
from ..modeling.head_parts import LanguageHead
from ..modeling.modeling_tfm_seq2seq import TfmSeq2SeqModel
from .model_state import inspected
from .rows import MASKS

__all__ = ["MAX_TOKENS", "TextInputs", "read_texts", "token_texts"]

# tokens above which a text is refused unless the limit is named; a page of 512 stays quick and below 15 MB
MAX_TOKENS = 512
MAX_NEW_TOKENS = 64


@dataclass
class TextInputs:
    """`inputs`: keyword arguments of the model (1, T). `actual`: the id that really follows each token of the stack
    that predicts, None where it is not known. `generated`: whether the model wrote the target. `add_special_tokens`:
    whether the tokenizer added its own."""

    inputs: dict[str, Any]
    actual: list[int | None] | None = None
    generated: bool = False
    add_special_tokens: bool = True
    warnings: list[str] = field(default_factory=list)


def read_texts(
    model: Any,
    tokenizer: Any,
    text: str | tuple[str, str],
    target: str | None,
    max_tokens: int | None,
    add_special_tokens: bool = True,
) -> TextInputs:
    """`text`: one text, or a pair (question and context). `target`: the output text of an encoder-decoder; without one
    it generates its own, and is then run once over both. `max_tokens`: cuts longer texts; without it they are refused.
    `add_special_tokens`: whether the tokenizer adds its own to the text.

    Raises ValueError for an empty text, one that is too long, and an encoder-decoder without head or target."""
    found = TextInputs({}, add_special_tokens=add_special_tokens)
    limit = MAX_TOKENS if max_tokens is None else max_tokens
    pair = (text,) if isinstance(text, str) else text
    encoded = tokenizer(*pair, return_tensors="pt", add_special_tokens=add_special_tokens, verbose=False)
    found.inputs = {
        name: cut(encoded[name], limit, max_tokens, "text", found.warnings)
        for name in ("input_ids", "attention_mask", "token_type_ids")
        if name in MASKS and name in encoded
    }
    if not getattr(model.config, "type_vocab_size", 0):
        found.inputs.pop("token_type_ids", None)
    ids = found.inputs["input_ids"].long()
    if not ids.numel():
        raise ValueError("The text holds no token; give a longer one.")
    check_table(model, ids, "text")
    found.inputs["input_ids"] = ids
    if model.config.is_encoder_decoder:
        add_target(found, model, tokenizer, target, limit, max_tokens)
    elif predicts_tokens(model) and model.config.model_type == "tfm_decoder":
        found.actual = [*ids[0, 1:].tolist(), None]
    elif predicts_tokens(model):
        found.actual = ids[0].tolist()
    return found


def cut(ids: torch.Tensor, limit: int, max_tokens: int | None, what: str, warnings: list[str]) -> torch.Tensor:
    """The first `limit` columns. Raises ValueError for more where no limit was named."""
    length = ids.shape[1]
    if length <= limit:
        return ids
    if max_tokens is None:
        raise ValueError(
            f"The {what} has {length:,} tokens, more than {limit:,}: give max_tokens={limit} to read only so many, or "
            f"max_tokens={length} to read all."
        )
    warning = f"The {what} has {length:,} tokens, of which the first {limit:,} were read (max_tokens)."
    if warning not in warnings:
        warnings.append(warning)
    return ids[:, :limit]


def check_table(model: Any, ids: torch.Tensor, what: str) -> None:
    """Raises ValueError for more tokens than a learned table has positions."""
    longest = model.config.max_position_embeddings
    if model.config.position_type == "learned" and ids.shape[1] > longest:
        raise ValueError(
            f"The {what} has {ids.shape[1]:,} tokens, and the model has {longest:,} positions: give "
            f"max_tokens={longest}."
        )


def add_target(
    found: TextInputs, model: Any, tokenizer: Any, target: str | None, limit: int, max_tokens: int | None
) -> None:
    """The inputs of the decoder of an encoder-decoder, and what it should predict."""
    has_language_head = predicts_tokens(model)
    if has_language_head and target is None:
        with inspected(model):
            inputs = {name: value.to(model.device) for name, value in found.inputs.items()}
            longest = min(MAX_NEW_TOKENS, limit, model.config.max_position_embeddings)
            # with the start token; generate warns where a checkpoint's own limit is of the other kind
            lengths = {"max_length": longest + 1, "max_new_tokens": None}
            options: Any = {"do_sample": False, "num_beams": 1, **lengths}
            written = model.generate(**inputs, **options)[:1].cpu()
        found.inputs["decoder_input_ids"] = written[:, :-1]
        found.actual = written[0, 1:].tolist()
        found.generated = True
    elif target is not None and (has_language_head or isinstance(model, TfmSeq2SeqModel)):
        labels = tokenizer(text_target=target, return_tensors="pt", verbose=False)["input_ids"].long()
        labels = cut(labels, limit, max_tokens, "target", found.warnings)
        check_table(model, labels, "target")
        found.inputs["decoder_input_ids"] = DECODER_SHIFTS[model.config.decoder_shift](model.config).from_labels(labels)
        found.actual = labels[0].tolist()
    elif isinstance(model, TfmSeq2SeqModel):
        raise ValueError("An encoder-decoder without a head writes no target; give one with target.")


def predicts_tokens(model: Any) -> bool:
    return isinstance(model, LanguageHead)


def token_texts(tokenizer: Any, ids: list[int]) -> list[str]:
    """What each token reads as, the space before a word included; the tokenizer's own name of a token where it is a
    part of a character."""
    texts = []
    for index, name in zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True):
        text = tokenizer.decode([index], clean_up_tokenization_spaces=False)
        if name is None:
            text = f"<{index}>"
        elif name.startswith("▁"):
            text = name.replace("▁", " ")
        elif not text or "\ufffd" in text:
            text = name
        texts.append(text)
    return texts
