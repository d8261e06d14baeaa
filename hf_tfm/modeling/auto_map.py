"""What a checkpoint's `auto_map` names: classes of hf_tfm, or those of a user."""

import copyreg
from typing import Any

from transformers import PreTrainedConfig

# files that define what a checkpoint's configuration may name
CONFIGURATION_FILE = "configuration_tfm"
MODEL_FILES = ("modeling_tfm_encoder", "modeling_tfm_decoder", "modeling_tfm_seq2seq", "seq2seq_stacks")


def has_code_of_others(config_dict: dict[str, Any]) -> bool:
    """Whether a checkpoint names a class that is not in one of the files that hf_tfm writes."""
    references = (config_dict.get("auto_map") or {}).values()
    return not {str(reference).partition(".")[0] for reference in references} <= {CONFIGURATION_FILE, *MODEL_FILES}


def is_built_in(model_class: type) -> bool:
    """Whether a model is defined in a file of hf_tfm, in the package or in a checkpoint's copy of it. The file of a
    user's own model stands beside those in a checkpoint."""
    package, _, file = model_class.__module__.rpartition(".")
    return package == __name__.rpartition(".")[0] and file in MODEL_FILES


def hide_from_auto_classes(config: PreTrainedConfig) -> None:
    """Give a configuration a class of its own, which no Auto class knows: transformers then opens the class that the
    checkpoint names, at the code revision asked for, and only if the user trusts it. A copy has the known class."""
    known = type(config)

    def reduce(self: PreTrainedConfig, protocol: Any) -> tuple[Any, ...]:
        return copyreg.__newobj__, (known,), vars(self)  # pyright: ignore[reportAttributeAccessIssue]

    config.__class__ = type(known.__name__, (known,), {"__module__": known.__module__, "__reduce_ex__": reduce})
