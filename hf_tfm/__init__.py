"""hf_tfm: one Transformer block, every Transformer, at home in Hugging Face.

Importing the package registers the three architectures with transformers' Auto classes. Public names are the
configurations, the models, and the two conversion functions, which are imported on first use. All other tools are
imported from their own modules.
"""

# ruff: noqa: E402  Ctrl-C is caught before the imports that take seconds

import importlib
import signal
import sys
from pathlib import Path
from typing import Any

IS_COMMAND = Path((getattr(sys, "argv", None) or [""])[0]).stem == "hf-tfm"


def end_command(*_: Any) -> None:
    """Ctrl-C while the command hf-tfm imports transformers; later, its main says it."""
    print("\nhf-tfm: interrupted", file=sys.stderr)
    sys.exit(130)


if IS_COMMAND:
    signal.signal(signal.SIGINT, end_command)

from transformers import AutoConfig
from transformers.models.auto import modeling_auto

from .modeling.configuration_tfm import VERSION as __version__
from .modeling.configuration_tfm import TfmDecoderConfig, TfmEncoderConfig, TfmSeq2SeqConfig
from .modeling.modeling_tfm_decoder import (
    TfmDecoderForCausalLM,
    TfmDecoderForQuestionAnswering,
    TfmDecoderForSequenceClassification,
    TfmDecoderForTextEmbedding,
    TfmDecoderForTokenClassification,
    TfmDecoderModel,
)
from .modeling.modeling_tfm_encoder import (
    TfmEncoderForMaskedLM,
    TfmEncoderForMultipleChoice,
    TfmEncoderForQuestionAnswering,
    TfmEncoderForSequenceClassification,
    TfmEncoderForTextEmbedding,
    TfmEncoderForTokenClassification,
    TfmEncoderModel,
)
from .modeling.modeling_tfm_seq2seq import (
    TfmSeq2SeqEncoderModel,
    TfmSeq2SeqForConditionalGeneration,
    TfmSeq2SeqForQuestionAnswering,
    TfmSeq2SeqForSequenceClassification,
    TfmSeq2SeqModel,
)

__all__ = [
    "TfmDecoderConfig",
    "TfmDecoderForCausalLM",
    "TfmDecoderForQuestionAnswering",
    "TfmDecoderForSequenceClassification",
    "TfmDecoderForTextEmbedding",
    "TfmDecoderForTokenClassification",
    "TfmDecoderModel",
    "TfmEncoderConfig",
    "TfmEncoderForMaskedLM",
    "TfmEncoderForMultipleChoice",
    "TfmEncoderForQuestionAnswering",
    "TfmEncoderForSequenceClassification",
    "TfmEncoderForTextEmbedding",
    "TfmEncoderForTokenClassification",
    "TfmEncoderModel",
    "TfmSeq2SeqConfig",
    "TfmSeq2SeqEncoderModel",
    "TfmSeq2SeqForConditionalGeneration",
    "TfmSeq2SeqForQuestionAnswering",
    "TfmSeq2SeqForSequenceClassification",
    "TfmSeq2SeqModel",
    "__version__",
    "from_native",
    "to_native",
]


def __getattr__(name: str) -> Any:
    """The conversion functions."""
    if name in ("from_native", "to_native"):
        return getattr(importlib.import_module(".conversion", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _register() -> None:
    """Register every architecture with the Auto classes, by the same map that its checkpoints carry."""
    for config_class, base_model in (
        (TfmEncoderConfig, TfmEncoderModel),
        (TfmDecoderConfig, TfmDecoderModel),
        (TfmSeq2SeqConfig, TfmSeq2SeqModel),
    ):
        AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
        for auto_class, reference in base_model._auto_map.items():
            if auto_class != "AutoConfig":
                model_class = globals()[reference.split(".")[-1]]
                getattr(modeling_auto, auto_class).register(config_class, model_class, exist_ok=True)
                # pipelines and the server look up there what a configuration names
                setattr(sys.modules["transformers"], model_class.__name__, model_class)


_register()
if IS_COMMAND:
    signal.signal(signal.SIGINT, signal.default_int_handler)
