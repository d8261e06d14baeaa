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

__all__ = [
    "AUTO_CLASSES",
    "TFM_CONFIGS",
    "head_and_reason",
    "head_of_config",
    "head_of_model",
    "model_class",
    "registered_classes",
    "saved_class",
]

# Head name -> Auto class. "base": no head. "encoder": only the encoder of an encoder-decoder.
AUTO_CLASSES: dict[str, Any] = {
    "base": AutoModel,
    "seq2seq-lm": AutoModelForSeq2SeqLM,  # before masked-lm: transformers lists BART in both mappings
    "masked-lm": AutoModelForMaskedLM,  # before causal-lm: it lists XLM in both
    "causal-lm": AutoModelForCausalLM,
    "sequence-classification": AutoModelForSequenceClassification,
    "token-classification": AutoModelForTokenClassification,
    "question-answering": AutoModelForQuestionAnswering,
    "multiple-choice": AutoModelForMultipleChoice,
    "encoder": AutoModelForTextEncoding,
}

# How the names of model classes end that belong to no Auto class, such as LLaMAForCausalLM -> head name. The first that
# fits counts. Other names (BertForPreTraining, T5WithLMHeadModel) mean the usual head.
HEADS_BY_ENDING: dict[str, str] = {
    **dict.fromkeys(("ForSequenceClassification", "ForRewardModel", "RewardModel"), "sequence-classification"),
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMultipleChoice": "multiple-choice",
    "ForMaskedLM": "masked-lm",
    "ForCausalLM": "causal-lm",
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
    """The head that a checkpoint was saved with, by `architectures` of its configuration, or the usual head of its
    architecture if that names none."""
    return head_and_reason(config)[0]


def head_and_reason(config: PreTrainedConfig) -> tuple[str, str | None]:
    """The head that a checkpoint was saved with, and, unless its class belongs to an Auto class, one line that says why
    it is this head. Raises ConversionError for one of our checkpoints with a head of the user's own."""
    name = saved_class(config)
    for head, auto_class in AUTO_CLASSES.items():
        if name in [cls.__name__ for cls in registered_classes(auto_class, type(config))]:
            return head, None
    if config.model_type in TFM_CONFIGS:
        raise ConversionError(
            f"The checkpoint holds a {name}, whose head cannot be converted; choose a head: {', '.join(AUTO_CLASSES)}."
        )
    for ending, head in HEADS_BY_ENDING.items():
        if name.endswith(ending):
            return head, f'Opened with the head "{head}", by the name of its class: {name}.'
    head = usual_head(config)
    return head, f'Opened with the head "{head}", which {config.model_type} usually has: the checkpoint names {name}.'


def saved_class(config: PreTrainedConfig) -> str:
    """The name of the class that a checkpoint was saved with."""
    return (config.architectures or ["no class"])[0]


def usual_head(config: PreTrainedConfig) -> str:
    """The head with which models of this architecture are trained first."""
    heads = ("seq2seq-lm",) if config.is_encoder_decoder else ("masked-lm", "causal-lm")
    return next((head for head in heads if registered_classes(AUTO_CLASSES[head], type(config))), "base")


def registered_classes(auto_class: Any, config_class: type[PreTrainedConfig]) -> tuple[type, ...]:
    """The model classes of an Auto class for a configuration class; most have one, some several."""
    classes = auto_class._model_mapping.get(config_class, ())
    return tuple(classes) if isinstance(classes, tuple | list) else (classes,)
