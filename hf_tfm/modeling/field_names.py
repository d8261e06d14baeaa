"""Names that a configuration may hold beside its fields."""

import re
from collections.abc import Iterable
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from transformers.utils import logging

from .auto_map import has_code_of_others, hide_from_auto_classes

logger = logging.get_logger(__name__)

# Keys that transformers itself writes into config.json or passes to the constructor beside the declared fields.
TRANSFORMERS_KEYS = frozenset(
    {
        "model_type", "auto_map", "name_or_path", "_name_or_path", "_commit_hash", "torch_dtype", "num_labels",
        "attn_implementation", "experts_implementation", "output_attentions", "quantization_config",
        "rope_theta", "rope_scaling", "partial_rotary_factor", "tie_last_hidden_states", "use_cache",
        "custom_pipelines", "fusion_config", "configuration_files", "tokenizer_class",
    }
)  # fmt: skip


# What the families and tools of transformers call `norm_eps`, for whoever reads or sets an attribute.
NORM_EPS_NAMES = (
    "rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "batch_norm_eps", "post_norm_eps",
)  # fmt: skip
UPGRADE = (
    "upgrade with pip install --upgrade hf_tfm, or open the checkpoint with its own code, by trust_remote_code=True "
    "where hf_tfm is not imported"
)


class FieldNames:
    """Mixin of the configurations: which names they may hold beside their fields.

    A keyword argument must be a field. An attribute that a tool sets on a finished configuration is kept, saved and
    loaded, as everywhere in transformers, unless it looks like a misspelt field; that is refused when it is saved, and
    in a file."""

    hf_tfm_version: str

    @classmethod
    def field_names(cls) -> list[str]:
        return [field.name for field in fields(cls)]  # pyright: ignore[reportArgumentType]

    @classmethod
    def unknown_names(cls, given: Iterable[str]) -> list[str]:
        """The names in `given` that are neither fields nor keys of transformers."""
        return sorted(set(given) - set(cls.field_names()) - TRANSFORMERS_KEYS)

    @classmethod
    def misspelt_names(cls, given: Iterable[str]) -> list[str]:
        """The unknown names that look like a field."""
        return [name for name in cls.unknown_names(given) if get_close_matches(name, cls.field_names(), cutoff=0.85)]

    @classmethod
    def refuse_names(cls, names: list[str], where: str = "") -> None:
        """Raises ValueError, with the nearest fields, if there are `names`: names that the configuration lacks."""
        if not names:
            return
        nearest = dict.fromkeys(near for name in names for near in get_close_matches(name, cls.field_names()))
        hint = f" The nearest fields are {', '.join(nearest)}." if nearest else ""
        raise ValueError(
            f"{cls.__name__} has no field {', '.join(map(repr, names))}{where}.{hint} Generation settings belong in "
            "model.generation_config; fields that differ between layers are layer_types, rope_layers and moe_layers."
        )

    @classmethod
    def check_keywords(cls, given: Iterable[str], is_written: bool) -> None:
        """Raises ValueError for what is not a field among keyword arguments, given by hand or, with `is_written`, from
        a file or a copy of a configuration."""
        cls.refuse_names(cls.misspelt_names(given) if is_written else cls.unknown_names(given))
        others = cls.unknown_names(given)
        if others:
            logger.warning_once(f"{cls.__name__} keeps attributes that its models do not read: {', '.join(others)}.")

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As in transformers, but a declared field given as keyword is part of the construction (so that fields derived
        from it follow), and a file of a newer version opens with a warning. Raises ValueError, with the version that
        wrote the file, for unknown keys that a newer version may have added or that look like a field."""
        written_by, ours = config_dict.get("hf_tfm_version"), cls.hf_tfm_version
        is_newer = written_by is not None and release(written_by) > release(ours)
        names = cls.unknown_names(config_dict) if is_newer or written_by is None else cls.misspelt_names(config_dict)
        origin = f"file written by hf_tfm {written_by}, read by {ours}"
        cls.refuse_names(names, f" ({origin}{f': {UPGRADE}' if is_newer else ''})")
        if is_newer:
            logger.warning(f"{origin}: results differ if the newer version gives a field another meaning; {UPGRADE}.")
        overrides = {key: kwargs.pop(key) for key in list(kwargs) if key in cls.field_names() and key != "dtype"}
        # "auto" is that of the file, which transformers would replace by the word
        kwargs = {key: value for key, value in kwargs.items() if value != "auto" or key not in ("dtype", "torch_dtype")}
        # an Auto class passes the name, and looks up the configuration's class next
        by_auto_class = "name_or_path" in kwargs
        opened = super().from_dict({**config_dict, **overrides}, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        if by_auto_class and has_code_of_others(config_dict):
            hide_from_auto_classes(opened[0] if isinstance(opened, tuple) else opened)
        return opened

    def to_json_file(self, json_file_path: Any, use_diff: bool = True) -> None:
        """As in transformers, with this code's version, unless the configuration comes from a newer version's file."""
        self.hf_tfm_version = max(self.hf_tfm_version, type(self).hf_tfm_version, key=release)
        super().to_json_file(json_file_path, use_diff)  # pyright: ignore[reportAttributeAccessIssue]

    def validate_names(self) -> None:
        """Raises ValueError for an attribute that looks like a field."""
        self.refuse_names(self.misspelt_names(name for name in vars(self) if not name.startswith("_")))


def release(version: str) -> list[int]:
    """The numbers of a version: [0, 1, 0] for "0.1.0"."""
    return [int(number) for number in re.findall(r"\d+", version)[:3]]
