"""Tiny models with random weights, norms and biases included, and a tokenizer of whole words for them."""

from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from hf_tfm.inspection.recording import Recording, record
from tests.grid import SIZES, ids, make

WORDS = "the animal did not cross street because it was too tired and sat down on a red mat".split()
TEXT = "the animal did not cross the street because it was too tired"
OTHER_TEXT = "the mat did not cross the street because it was too tired"
SPECIAL = ("[PAD]", "[BOS]", "[EOS]", "[MASK]", "[UNK]")


def make_tokenizer(with_eos: bool = False, vocab_size: int = SIZES["vocab_size"]) -> Any:
    """Ids 0 to 4 are special tokens, as SIZES has them; every id of the vocabulary has a name."""
    names = [*SPECIAL, *WORDS, *(f"w{i}" for i in range(vocab_size - len(SPECIAL) - len(WORDS)))]
    words = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if with_eos:
        words.post_processor = processors.TemplateProcessing(
            single="$A [EOS]", pair="$A [EOS] $B [EOS]", special_tokens=[("[EOS]", 2)]
        )
    named = {"pad_token": "[PAD]", "bos_token": "[BOS]", "eos_token": "[EOS]", "mask_token": "[MASK]"}
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", **named)


def in_float64(model: Any) -> Any:
    """Experts in the loop that takes float64."""
    model.set_experts_implementation("eager")
    return model.double()


def inputs_of(architecture: str, length: int = 7, seed: int = 0) -> dict[str, torch.Tensor]:
    inputs = {"input_ids": ids(1, length, seed=seed)}
    return {**inputs, "decoder_input_ids": ids(1, 5, seed=seed + 1)} if architecture == "seq2seq" else inputs


def make_recording(architecture: str, double: bool = False, head: Any = None, **fields: Any) -> Recording:
    """A recording of a tiny model on random ids; `head`: class of the model (default: the language model)."""
    model = make(architecture, head, **fields)
    inputs = inputs_of(architecture)
    if head is not None:
        inputs.pop("decoder_input_ids", None)
    return record(in_float64(model) if double else model, inputs)[0]
