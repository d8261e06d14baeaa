"""Tiny checkpoints with a tokenizer, in the folders where transformers' pipeline tests look for them."""

import functools
import string
import tempfile
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import TokenizersBackend

from .cases import Case

SPECIAL_TOKENS = {
    "pad_token": "<pad>",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}


def make_tokenizer() -> TokenizersBackend:
    """One token per character: fewer tokens than the vocabulary of the tiny models has."""
    tokens = [*SPECIAL_TOKENS.values(), "Ġ", *string.ascii_letters, *".,!?"]
    core = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=[], unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", tokens.index("</s>"))]
    )
    return TokenizersBackend(tokenizer_object=core, model_max_length=64, **SPECIAL_TOKENS)


@functools.cache
def write_checkpoints(case: Case) -> tempfile.TemporaryDirectory:
    """A folder with one checkpoint for each class that a pipeline uses."""
    folder = tempfile.TemporaryDirectory()
    config = case.config()
    for model_class in set(case.pipelines.values()):
        checkpoint = Path(folder.name) / config.model_type / model_class.__name__
        model_class(config).save_pretrained(checkpoint)
        make_tokenizer().save_pretrained(checkpoint)
    return folder


def summary(case: Case) -> dict[str, dict]:
    """The summary of the checkpoints that transformers' pipeline tests read."""
    return {
        model_class.__name__: {"tokenizer_classes": ["TokenizersBackend"], "processor_classes": []}
        for model_class in case.pipelines.values()
    }
