"""What a native family is: its words in our configuration and its names in our modules, read in both directions."""

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTextEncoding,
    AutoModelForTokenClassification,
    PreTrainedConfig,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from ..modeling.configuration_tfm import TfmConfig, TfmDecoderConfig, TfmEncoderConfig, TfmSeq2SeqConfig
from .rows import ConversionError, Row

__all__ = ["CONFIGS", "HEADS", "Family", "head_of", "model_class"]

# The words of `head`, and the Auto class of each. "encoder": the encoder of an encoder-decoder, alone.
HEADS: dict[str, Any] = {
    "base": AutoModel,
    "causal-lm": AutoModelForCausalLM,
    "seq2seq-lm": AutoModelForSeq2SeqLM,  # before masked-lm: the host lists BART there too
    "masked-lm": AutoModelForMaskedLM,
    "sequence-classification": AutoModelForSequenceClassification,
    "token-classification": AutoModelForTokenClassification,
    "question-answering": AutoModelForQuestionAnswering,
    "multiple-choice": AutoModelForMultipleChoice,
    "encoder": AutoModelForTextEncoding,
}

CONFIGS: dict[str, type[TfmConfig]] = {
    config.model_type: config for config in (TfmEncoderConfig, TfmDecoderConfig, TfmSeq2SeqConfig)
}

# Fields of the host that both sides have under one name.
SHARED = ("pad_token_id", "bos_token_id", "eos_token_id", "id2label", "label2id", "problem_type", "dtype")

Words = dict[str, Any]


def nothing(config: Any) -> Words:
    return {}


class Computed(NamedTuple):
    """Fields that are more than a change of name: our words from a native configuration, its fields from ours, and
    which of its fields are read."""

    ours: Callable[[Any], Words] = nothing
    native: Callable[[Any], Words] = nothing
    reads: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Family:
    """One native model type.

    `name`: its model type. `architecture`: ours. `recipe`: the row of `recipes.py` that it is, if there is one.
    `words`: our fields that are the same for every checkpoint. `fields`: native field -> ours, equal values.
    `computed`: the others, tried in order. `required`: native fields that must have one value, since no word of ours
    says another. `ignored`: native fields that change no number, with the reason.
    `trunk`: rows of the base model. `heads`: rows beside the trunk, by word of `HEADS`. `head_words`: our fields that
    differ for a head. `head_fields`: native fields that do."""

    name: str
    architecture: str
    trunk: tuple[Row, ...]
    heads: Mapping[str, tuple[Row, ...]]
    fields: Mapping[str, str]
    recipe: str | None = None
    words: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    computed: tuple[Computed, ...] = ()
    required: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    ignored: Mapping[str, str] = dataclasses.field(default_factory=dict)
    head_words: Mapping[str, Words] = dataclasses.field(default_factory=dict)
    head_fields: Mapping[str, Words] = dataclasses.field(default_factory=dict)

    @property
    def rounds(self) -> bool:
        """Whether weights are folded so that half precision would lose some of them."""
        return any(entry.change.rounds for entry in self.trunk)

    def rows(self, head: str, native: str, ours: str) -> list[Row]:
        """Every row of a model with this head; the trunk's names stand behind the two prefixes."""
        return [entry.behind(native, ours) for entry in self.trunk] + list(self.heads[head])

    def our_config(self, native: PreTrainedConfig, head: str, found: Words) -> TfmConfig:
        """Our configuration of a native one; `found` are words that only its tensors tell. Raises ConversionError
        naming the field that cannot be said."""
        if "per_layer_config" in native.to_dict():
            raise ConversionError(f"per_layer_config of {self.name} cannot be said: layers differ by type alone.")
        for name, value in self.required.items():
            if getattr(native, name, value) != value:
                raise ConversionError(
                    f"{self.name} with {name}={getattr(native, name)!r} cannot be said in our block; "
                    f"{name}={value!r} can."
                )
        words = dict(self.words)
        words |= {ours: getattr(native, name) for name, ours in self.fields.items() if hasattr(native, name)}
        for part in self.computed:
            words |= part.ours(native)
        words |= self.head_words.get(head, {}) | found | {"origin": self.name}
        words |= {name: getattr(native, name) for name in SHARED if getattr(native, name, None) is not None}
        config_class = CONFIGS[self.architecture]
        words = copy.deepcopy(words)  # configurations write into the dictionaries they are given
        return config_class.recipe(self.recipe, **words) if self.recipe else config_class(**words)

    def native_config(self, ours: TfmConfig, head: str) -> PreTrainedConfig:
        """The native configuration that says what ours does, where there is one; to be compared by `our_config`."""
        given = dict(self.required) | {name: getattr(ours, mine) for name, mine in self.fields.items()}
        for part in self.computed:
            given |= part.native(ours)
        given |= {name: getattr(ours, name) for name in SHARED} | self.head_fields.get(head, {})
        return CONFIG_MAPPING[self.name](**copy.deepcopy(given))


def model_class(config: PreTrainedConfig, head: str) -> Any:
    """The class of this configuration with this head. Raises ConversionError if the host has none."""
    found = HEADS[head]._model_mapping.get(type(config), None)
    if found is None:
        raise ConversionError(f'{config.model_type} has no head "{head}" in this transformers.')
    return found[0] if isinstance(found, tuple | list) else found


def head_of(model: Any) -> str:
    """The word for the head of a model. Raises ConversionError for a class that no Auto class gives."""
    for head, auto in HEADS.items():
        found = auto._model_mapping.get(type(model.config), ())
        if type(model) in (found if isinstance(found, tuple | list) else (found,)):
            return head
    raise ConversionError(f"{type(model).__name__} has no counterpart here; heads are {', '.join(HEADS)}.")
