"""Tiny checkpoints with a tokenizer, laid out as the host's pipeline tests look for them."""

import functools
import string
import tempfile
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import TokenizersBackend

from .cases import Case

SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}


def make_tokenizer() -> TokenizersBackend:
    """One token per character: fewer words than the tiny models know."""
    words = [*SPECIAL.values(), "Ġ", *string.ascii_letters, *".,!?"]
    core = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=[], unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", words.index("</s>"))]
    )
    return TokenizersBackend(tokenizer_object=core, model_max_length=64, **SPECIAL)


@functools.cache
def checkpoints(case: Case) -> tempfile.TemporaryDirectory:
    """A folder with one checkpoint for each class that a pipeline uses."""
    folder = tempfile.TemporaryDirectory()
    config = case.config()
    for kind in set(case.pipelines.values()):
        place = Path(folder.name) / config.model_type / kind.__name__
        kind(config).save_pretrained(place)
        make_tokenizer().save_pretrained(place)
    return folder


def summary(case: Case) -> dict[str, dict]:
    """What the host's tests read about the checkpoints."""
    return {
        kind.__name__: {"tokenizer_classes": ["TokenizersBackend"], "processor_classes": []}
        for kind in case.pipelines.values()
    }
