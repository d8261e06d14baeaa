"""Tiny checkpoints for other tools: native models with random weights, ours converted from them, and ours that no
native family has. Everything is made offline."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
)

from hf_tfm import TfmDecoderConfig, TfmDecoderForCausalLM, from_native

TEXT = ["the quick brown fox jumps over the lazy dog", "a model reads words and writes words", "one two three four"]
SPECIAL_TOKENS = ["<pad>", "<eos>", "<user>", "<assistant>"]
PAD, EOS = 0, 1
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'assistant' %}<assistant>{% generation %}{{ message.content }}"
    "<eos>{% endgeneration %}{% else %}<user>{{ message.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
VOCABULARY = 300
SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 256, "pad_token_id": PAD, "eos_token_id": EOS,
    # large, so that attention is far from uniform, and what a token may read matters
    "initializer_range": 0.3,
}  # fmt: skip
IDS = {"bos_token_id": None}
T5_SIZES = {
    "vocab_size": VOCABULARY, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4,
    "dropout_rate": 0.0, "initializer_factor": 4.0, "decoder_start_token_id": PAD, "pad_token_id": PAD,
    "eos_token_id": EOS,
}  # fmt: skip
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
# name -> how a native model is made; ours of the same name is converted from it
NATIVE: dict[str, Any] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, **IDS, num_key_value_heads=2)),
    "experts": lambda: MixtralForCausalLM(
        MixtralConfig(**SIZES, **IDS, num_key_value_heads=2, num_local_experts=4, sliding_window=None)
    ),
    "bert": lambda: BertModel(BertConfig(**SIZES, **NO_DROPOUT)),
    "t5": lambda: T5ForConditionalGeneration(T5Config(**T5_SIZES)),
    "t5_encoder": lambda: T5EncoderModel(T5Config(**T5_SIZES)),
}
# name -> how a model of ours without a native twin is made
OURS: dict[str, Any] = {
    "alibi": lambda: TfmDecoderForCausalLM(TfmDecoderConfig(**SIZES, position_type="alibi")),
}


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with a chat template that marks what the assistant says."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=SPECIAL_TOKENS
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", chat_template=CHAT_TEMPLATE
    )


def write_checkpoints(folder: Path) -> None:
    """`folder/native/NAME` and `folder/ours/NAME`, each a model with its tokenizer."""
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    saved = [(folder / "native" / name, make()) for name, make in NATIVE.items()]
    saved += [(folder / "ours" / name, from_native(native)) for (_, native), name in zip(saved, NATIVE, strict=True)]
    saved += [(folder / "ours" / name, make()) for name, make in OURS.items()]
    for place, model in saved:
        model.save_pretrained(place)
        tokenizer.save_pretrained(place)
