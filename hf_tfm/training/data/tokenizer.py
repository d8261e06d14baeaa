"""Trains a tokenizer, or loads an existing one."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, TokenizersBackend

from hf_tfm.conversion.checkpoint_files import check_tokenizer_files
from hf_tfm.errors import missing_folder_errors

from ..utils.files import one_line_read_errors

__all__ = ["END_OF_TEXT", "PAD_TOKEN", "TOKENIZER_STYLES", "TokenizerStyle", "load_tokenizer", "train_tokenizer"]

END_OF_TEXT = "<|endoftext|>"
PAD_TOKEN = "<|pad|>"
TOKEN_TYPE_IDS = "token_type_ids"
# The smallest byte-level vocabulary has the 256 bytes and the special tokens.
NUM_BYTES = 256
# ChatML; {% generation %} marks the messages of the assistant for the loss.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@dataclass(frozen=True)
class TokenizerStyle:
    """Special tokens by their attribute in transformers, the templates of one text and of two, a chat template, and
    special tokens without an attribute."""

    tokens: dict[str, str]
    single: str | None = None
    pair: str | None = None
    chat_template: str | None = None
    extra_tokens: tuple[str, ...] = ()


TOKENIZER_STYLES = {
    # running text, one token after each document
    "plain": TokenizerStyle({"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "pad_token": PAD_TOKEN}),
    # as in BERT: a token for the sequence first, one after each text
    "pair": TokenizerStyle(
        {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"},
        "[CLS]:0 $A:0 [SEP]:0",
        "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
    ),
    # as in T5: one token after each text
    "source": TokenizerStyle({"pad_token": "<pad>", "eos_token": "</s>"}, "$A:0 </s>:0", "$A:0 </s>:0 $B:1 </s>:1"),
    # as in BART: one token before and one after the text
    "bracketed": TokenizerStyle(
        {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>",
         "mask_token": "<mask>"},
        "<s>:0 $A:0 </s>:0",
        "<s>:0 $A:0 </s>:0 $B:1 </s>:1",
    ),
    # messages, one token after each; generation stops at the token after an answer
    "chat": TokenizerStyle(
        {"bos_token": END_OF_TEXT, "eos_token": "<|im_end|>", "pad_token": PAD_TOKEN},
        chat_template=CHAT_TEMPLATE,
        extra_tokens=("<|im_start|>",),
    ),
}  # fmt: skip


def train_tokenizer(
    texts: Iterable[str],
    vocab_size: int,
    model_max_length: int,
    style: str = "plain",
    tokenizer_type: str = "bpe",
    with_token_types: bool = False,
) -> TokenizersBackend:
    """A tokenizer of type "bpe" (byte-level, so that decoding gives every text back) or "characters", with the special
    tokens of a style. `with_token_types`: it also returns token types, 1 for the second text of a pair.

    `vocab_size` includes the special tokens; short texts give a smaller vocabulary. Raises ValueError if special tokens
    and 256 bytes (or all characters) do not fit into it."""
    chosen = TOKENIZER_STYLES[style]
    special_tokens = list(dict.fromkeys([*chosen.tokens.values(), *chosen.extra_tokens]))
    if tokenizer_type == "bpe":
        backend = train_bpe(texts, vocab_size, special_tokens)
    else:
        backend = train_characters(texts, vocab_size, special_tokens)
    if chosen.single:
        ids = [(token, backend.token_to_id(token)) for token in special_tokens]
        backend.post_processor = processors.TemplateProcessing(
            single=chosen.single, pair=chosen.pair, special_tokens=ids
        )
    tokenizer = TokenizersBackend(
        tokenizer_object=backend,
        **chosen.tokens,
        model_max_length=model_max_length,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", *([TOKEN_TYPE_IDS] if with_token_types else []), "attention_mask"],
    )
    if chosen.chat_template:
        tokenizer.chat_template = chosen.chat_template
    return tokenizer


def train_bpe(texts: Iterable[str], vocab_size: int, special_tokens: list[str]) -> Tokenizer:
    minimum = NUM_BYTES + len(special_tokens)
    if vocab_size < minimum:
        raise ValueError(
            f"--vocab_size {vocab_size} is too small: {NUM_BYTES} bytes and {len(special_tokens)} special tokens need "
            f"{minimum}; 2048 to 8192 suit a few megabytes of text."
        )
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=special_tokens,
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return bpe


def train_characters(texts: Iterable[str], vocab_size: int, special_tokens: list[str]) -> Tokenizer:
    """One token per character of the texts; other characters become the unknown token."""
    unknown = "<|unknown|>"
    characters = sorted(set(chain.from_iterable(texts)))
    tokens = [*special_tokens, unknown, *characters]
    if len(tokens) > vocab_size:
        raise ValueError(
            f"The text has {len(characters):,} different characters; with special tokens that is {len(tokens):,}, more "
            f"than --vocab_size {vocab_size}. Raise it, or use --tokenizer_type bpe."
        )
    tokenizer = Tokenizer(models.WordLevel({token: number for number, token in enumerate(tokens)}, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in [*special_tokens, unknown]])
    return tokenizer


def load_tokenizer(name: str, model_max_length: int | None = None) -> Any:
    """The tokenizer of a folder or Hub name. Raises ValueError with one line if there is none, or if its files are
    damaged."""
    options = {} if model_max_length is None else {"model_max_length": model_max_length}
    with one_line_read_errors("tokenizer", name), missing_folder_errors(name):
        check_tokenizer_files(name)
        return AutoTokenizer.from_pretrained(name, **options)
