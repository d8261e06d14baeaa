"""A byte-level BPE tokenizer trained on the run's own text, or a ready one reused."""

from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, TokenizersBackend

__all__ = ["END_OF_TEXT", "PADDING", "make_tokenizer", "train_tokenizer"]

END_OF_TEXT = "<|endoftext|>"
PADDING = "<|pad|>"
# 256 bytes and the two special tokens: without merges, but every text can be written.
SMALLEST_VOCABULARY = 258


def train_tokenizer(texts: Iterable[str], vocab_size: int, model_max_length: int) -> TokenizersBackend:
    """A byte-level BPE tokenizer: every text comes back unchanged from encoding and decoding.

    `vocab_size` counts tokens, the 256 bytes and two special tokens included; short texts give fewer. A document begins
    and ends with the same token. Raises ValueError if `vocab_size` is below 258."""
    if vocab_size < SMALLEST_VOCABULARY:
        raise ValueError(
            f"--vocab_size {vocab_size} is too small: 256 bytes and 2 special tokens need {SMALLEST_VOCABULARY}; "
            "2048 to 8192 suit a few megabytes of text."
        )
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[END_OF_TEXT, PADDING],
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return TokenizersBackend(
        tokenizer_object=bpe,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=PADDING,
        model_max_length=model_max_length,
        clean_up_tokenization_spaces=False,
    )


def make_tokenizer(name: str | None, texts: Iterable[str], vocab_size: int, model_max_length: int) -> Any:
    """The tokenizer called `name` (folder or Hub name), or one trained on `texts` if there is no name.
    Raises ValueError if the named one has no end-of-sequence token: documents could not be told apart."""
    if name is None:
        return train_tokenizer(texts, vocab_size, model_max_length)
    tokenizer = AutoTokenizer.from_pretrained(name, model_max_length=model_max_length)
    if tokenizer.eos_token_id is None:
        raise ValueError(
            f"The tokenizer {name} has no eos_token, which ends every document here; set one and save it: "
            'tokenizer.add_special_tokens({"eos_token": "</s>"}).'
        )
    return tokenizer
