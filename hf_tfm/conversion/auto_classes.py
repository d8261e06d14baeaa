"""Model classes by head name: the Auto class of every head, and the class for a configuration with a head."""

from typing import Any

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

from ..modeling.configuration_tfm import TfmConfig, TfmDecoderConfig, TfmEncoderConfig, TfmSeq2SeqConfig
from .errors import ConversionError

__all__ = ["AUTO_CLASSES", "TFM_CONFIGS", "head_of_config", "head_of_model", "model_class"]

# Head name -> Auto class. "base": no head. "encoder": only the encoder of an encoder-decoder.
AUTO_CLASSES: dict[str, Any] = {
    "base": AutoModel,
    "causal-lm": AutoModelForCausalLM,
    "seq2seq-lm": AutoModelForSeq2SeqLM,  # before masked-lm: transformers lists BART in both mappings
    "masked-lm": AutoModelForMaskedLM,
    "sequence-classification": AutoModelForSequenceClassification,
    "token-classification": AutoModelForTokenClassification,
    "question-answering": AutoModelForQuestionAnswering,
    "multiple-choice": AutoModelForMultipleChoice,
    "encoder": AutoModelForTextEncoding,
}

# Our model type -> configuration class.
TFM_CONFIGS: dict[str, type[TfmConfig]] = {
    config.model_type: config for config in (TfmEncoderConfig, TfmDecoderConfig, TfmSeq2SeqConfig)
}


def model_class(config: PreTrainedConfig, head: str) -> Any:
    """The model class of a configuration with this head. Raises ConversionError if transformers has none."""
    classes = registered_classes(AUTO_CLASSES[head], type(config))
    if not classes:
        raise ConversionError(f'{config.model_type} has no head "{head}" in this version of transformers.')
    return classes[0]


def head_of_model(model: Any) -> str:
    """The head name of a model. Raises ConversionError if its class belongs to no Auto class."""
    for head, auto_class in AUTO_CLASSES.items():
        if type(model) in registered_classes(auto_class, type(model.config)):
            return head
    raise ConversionError(f"{type(model).__name__} cannot be converted: its head is none of {', '.join(AUTO_CLASSES)}.")


def head_of_config(config: PreTrainedConfig) -> str:
    """The head that a checkpoint was saved with, by `architectures` of its configuration. Raises ConversionError if it
    belongs to no Auto class."""
    saved_class = (config.architectures or [None])[0]
    for head, auto_class in AUTO_CLASSES.items():
        if saved_class in [cls.__name__ for cls in registered_classes(auto_class, type(config))]:
            return head
    raise ConversionError(
        f"The checkpoint holds a {saved_class}, whose head cannot be converted; choose a head: "
        f"{', '.join(AUTO_CLASSES)}."
    )


def registered_classes(auto_class: Any, config_class: type[PreTrainedConfig]) -> tuple[type, ...]:
    """The model classes of an Auto class for a configuration class; most have one, some several."""
    classes = auto_class._model_mapping.get(config_class, ())
    return tuple(classes) if isinstance(classes, tuple | list) else (classes,)
