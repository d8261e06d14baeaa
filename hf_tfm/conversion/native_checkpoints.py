"""Loads native checkpoints from folders and the Hub with the loader of transformers."""

from typing import Any

import torch
from transformers import AutoConfig, PreTrainedModel

from .auto_classes import TFM_CONFIGS, head_of_config, model_class
from .errors import ConversionError
from .family import Family
from .registry import get_family

__all__ = ["load_native"]

# keyword arguments that say which files are meant
HUB_OPTIONS = ("revision", "token", "cache_dir", "subfolder", "local_files_only", "force_download", "proxies")


def load_native(
    source: str, head: str | None, dtype: Any = None, allow_pickle: bool = False, **kwargs: Any
) -> PreTrainedModel:
    """The native model of a checkpoint; see `from_native` for the arguments.

    Raises ConversionError if the checkpoint is already one of ours, its family or head cannot be converted, its weights
    are pickled, or weights of the base model are missing."""
    config = AutoConfig.from_pretrained(source, **{name: kwargs[name] for name in HUB_OPTIONS if name in kwargs})
    if config.model_type in TFM_CONFIGS:
        raise ConversionError(f"{source} is already a {config.model_type}; load it with from_pretrained.")
    family = get_family(config.model_type)
    head = head or head_of_config(config)
    native_class = model_class(config, head)
    kwargs = {**family.native_head_fields.get(head, {}), **kwargs}
    if dtype is None:
        dtype = torch.float32 if family.needs_float32 else "auto"
    try:
        native, report = native_class.from_pretrained(
            source, dtype=dtype, use_safetensors=None if allow_pickle else True, output_loading_info=True, **kwargs
        )
    except OSError as error:
        if allow_pickle or "safetensors" not in str(error):
            raise
        raise ConversionError(
            f"{source} has no safetensors weights. Loading pickled weights can run any code: if you trust the author, "
            "allow them with --allow_pickle (in Python: allow_pickle=True)."
        ) from error
    check_base_weights(native, family, head, set(report["missing_keys"]), source)
    return native


def check_base_weights(native: PreTrainedModel, family: Family, head: str, missing: set[str], source: str) -> None:
    """Raises ConversionError if the checkpoint lacks weights of the base model.

    Three things may be missing: a pooler that was not saved (it is removed), a head (it keeps random weights, as in
    transformers), and tables that are computed."""
    if missing and all(name.startswith("pooler.") for name in missing):
        native.register_module("pooler", None)
        return
    # without a head, the names of the base model have no prefix
    prefix = "" if head in ("base", "encoder") else native.base_model_prefix + "."
    computed = {prefix + name for rule in family.base_weights if not rule.ours for name in rule.native}
    missing_base = {name for name in missing - computed if name.startswith(prefix) and "pooler." not in name}
    if missing_base:
        raise ConversionError(f"{source} lacks weights of the base model: {', '.join(sorted(missing_base)[:6])}.")
