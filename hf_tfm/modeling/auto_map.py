"""What a checkpoint's `auto_map` names: classes of hf_tfm, or those of a user."""

import copyreg
from typing import Any

from transformers import PreTrainedConfig


def has_code_of_others(config_dict: dict[str, Any]) -> bool:
    """Whether a checkpoint names a class that is not in one of the files that hf_tfm writes."""
    references = (config_dict.get("auto_map") or {}).values()
    return not all(str(reference).startswith(("configuration_tfm.", "modeling_tfm_")) for reference in references)


def hide_from_auto_classes(config: PreTrainedConfig) -> None:
    """Give a configuration a class of its own, which no Auto class knows: transformers then opens the class that the
    checkpoint names, at the code revision asked for, and only if the user trusts it. A copy has the known class."""
    known = type(config)

    def reduce(self: PreTrainedConfig, protocol: Any) -> tuple[Any, ...]:
        return copyreg.__newobj__, (known,), vars(self)  # pyright: ignore[reportAttributeAccessIssue]

    config.__class__ = type(known.__name__, (known,), {"__module__": known.__module__, "__reduce_ex__": reduce})
