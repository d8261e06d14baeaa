"""Training a tokenizer on text, and loading a ready one."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, TokenizersBackend

__all__ = ["END_OF_TEXT", "PAD_TOKEN", "TOKENIZER_STYLES", "TokenizerStyle", "load_tokenizer", "train_tokenizer"]

END_OF_TEXT = "<|endoftext|>"
PAD_TOKEN = "<|pad|>"
TOKEN_TYPE_IDS = "token_type_ids"
# 256 bytes and the special tokens: without merges, but every text can be written.
NUM_BYTES = 256
# ChatML, with what the assistant says marked for the loss.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@dataclass(frozen=True)
class TokenizerStyle:
    """Special tokens by their transformers name, and where they stand: around one text, and around two."""

    tokens: dict[str, str]
    single: str | None = None
    pair: str | None = None
    chat_template: str | None = None


TOKENIZER_STYLES = {
    # running text, each document ended by one token
    "plain": TokenizerStyle({"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "pad_token": PAD_TOKEN}),
    # BERT's: a token that speaks for the sequence, one that ends each text
    "pair": TokenizerStyle(
        {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"},
        "[CLS]:0 $A:0 [SEP]:0",
        "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
    ),
    # T5's: each text ended
    "source": TokenizerStyle({"pad_token": "<pad>", "eos_token": "</s>"}, "$A:0 </s>:0", "$A:0 </s>:0 $B:1 </s>:1"),
    # BART's: each text begun and ended
    "bracketed": TokenizerStyle(
        {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>",
         "mask_token": "<mask>"},
        "<s>:0 $A:0 </s>:0",
        "<s>:0 $A:0 </s>:0 $B:1 </s>:1",
    ),
    # messages, each ended; the last token of an answer ends the text
    "chat": TokenizerStyle(
        {"bos_token": END_OF_TEXT, "eos_token": "<|im_end|>", "pad_token": PAD_TOKEN},
        chat_template=CHAT_TEMPLATE,
    ),
}  # fmt: skip
EXTRA_TOKENS = {"chat": ["<|im_start|>"]}


def train_tokenizer(
    texts: Iterable[str],
    vocab_size: int,
    model_max_length: int,
    style: str = "plain",
    tokenizer_type: str = "bpe",
    with_token_types: bool = False,
) -> TokenizersBackend:
    """A tokenizer of type "bpe" (byte-level: every text comes back unchanged) or "characters", with the special tokens
    of a style; with `with_token_types` it gives token types, 1 for the second text of a pair.

    `vocab_size` counts tokens, the special tokens included; short texts give fewer. Raises ValueError if there is no
    room for 256 bytes beside them, or if there are more characters than that."""
    chosen = TOKENIZER_STYLES[style]
    special = list(dict.fromkeys([*chosen.tokens.values(), *EXTRA_TOKENS.get(style, ())]))
    tokenizer = TOKENIZER_TRAINERS[tokenizer_type](texts, vocab_size, special)
    if chosen.single:
        ids = [(token, tokenizer.token_to_id(token)) for token in special]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=chosen.single, pair=chosen.pair, special_tokens=ids
        )
    built = TokenizersBackend(
        tokenizer_object=tokenizer,
        **chosen.tokens,
        model_max_length=model_max_length,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", *([TOKEN_TYPE_IDS] if with_token_types else []), "attention_mask"],
    )
    if chosen.chat_template:
        built.chat_template = chosen.chat_template
    return built


def train_bpe(texts: Iterable[str], vocab_size: int, special: list[str]) -> Tokenizer:
    smallest = NUM_BYTES + len(special)
    if vocab_size < smallest:
        raise ValueError(
            f"--vocab_size {vocab_size} is too small: {NUM_BYTES} bytes and {len(special)} special tokens need "
            f"{smallest}; 2048 to 8192 suit a few megabytes of text."
        )
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=special,
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return bpe


def train_characters(texts: Iterable[str], vocab_size: int, special: list[str]) -> Tokenizer:
    """One token per character of the texts; a character never seen becomes the unknown token."""
    unknown = "<|unknown|>"
    characters = sorted(set(chain.from_iterable(texts)))
    words = [*special, unknown, *characters]
    if len(words) > vocab_size:
        raise ValueError(
            f"The text has {len(characters):,} different characters; with special tokens that is {len(words):,}, more "
            f"than --vocab_size {vocab_size}. Raise it, or use --tokenizer_type bpe."
        )
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in [*special, unknown]])
    return tokenizer


TOKENIZER_TRAINERS = {"bpe": train_bpe, "characters": train_characters}


def load_tokenizer(name: str, model_max_length: int | None = None) -> Any:
    """The tokenizer of a folder or Hub name. Raises ValueError in one line where there is none."""
    options = {} if model_max_length is None else {"model_max_length": model_max_length}
    try:
        return AutoTokenizer.from_pretrained(name, **options)
    except (OSError, ValueError) as error:
        raise ValueError(f"No tokenizer could be read from {name}: {str(error).splitlines()[0]}") from error
