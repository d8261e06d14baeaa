"""Loads native checkpoints from folders and the Hub with the loader of transformers."""

from typing import Any, NamedTuple

import torch
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from .auto_classes import TFM_CONFIGS, head_and_reason, model_class, saved_class
from .errors import ConversionError
from .family import Family
from .registry import family_of, get_family
from .weight_map import listing

__all__ = ["NativeCheckpoint", "load_native", "weight_notes"]

# keyword arguments that say which files are meant
HUB_OPTIONS = ("revision", "token", "cache_dir", "subfolder", "local_files_only", "force_download", "proxies")


class NativeCheckpoint(NamedTuple):
    """A native model, and one line for each thing that its reader should know: why it has this head, which weights are
    new, and which of the checkpoint have no place."""

    model: Any
    notes: list[str]


def load_native(
    source: str, head: str | None, dtype: Any = None, allow_pickle: bool = False, **kwargs: Any
) -> NativeCheckpoint:
    """The native model of a checkpoint; see `from_native` for the arguments.

    Raises ConversionError if the checkpoint is already one of ours, its family or head cannot be converted, its weights
    are pickled, or weights of the base model are missing."""
    config = native_config(source, **{name: kwargs[name] for name in HUB_OPTIONS if name in kwargs})
    family = family_of(config)
    reason = None
    if head is None:
        head, reason = head_and_reason(config)
    native, notes, has_head = load_weights(source, config, family, head, dtype, allow_pickle, **kwargs)
    if reason is not None and not has_head:
        native, notes, _ = load_weights(source, config, family, "base", dtype, allow_pickle, **kwargs)
        reason = f'Opened without a head: the checkpoint names {saved_class(config)} and has no weights of "{head}".'
    return NativeCheckpoint(native, notes if reason is None else [reason, *notes])


def native_config(source: str, **options: Any) -> PreTrainedConfig:
    """The configuration of a native checkpoint. Raises ConversionError if its model type cannot be converted, without
    looking for the code of one that transformers does not know."""
    fields = PreTrainedConfig.get_config_dict(source, **options)[0]
    model_type = fields.get("model_type")
    if model_type in TFM_CONFIGS:
        raise ConversionError(f"{source} is already a {model_type}; load it with from_pretrained.")
    other_encoders = sorted({"vision_config", "audio_config"} & fields.keys())
    if model_type is not None and other_encoders:
        raise ConversionError(
            f"{source} is a {model_type} with {other_encoders[0]}: only text models can be converted."
        )
    if model_type is not None:
        get_family(model_type)
    return AutoConfig.from_pretrained(source, **options)


def load_weights(
    source: str, config: PreTrainedConfig, family: Family, head: str, dtype: Any, allow_pickle: bool, **kwargs: Any
) -> tuple[PreTrainedModel, list[str], bool]:
    """The native model with this head, the notes about its weights, and whether the checkpoint has all of them."""
    family.check_head(head)
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
    new = new_weights(native, family, head, report, source)
    return native, weight_notes(head, new, set(report["unexpected_keys"])), not new


def weight_notes(head: str, new: set[str], left_out: set[str]) -> list[str]:
    """What a reader should know of weights that the checkpoint lacks, and of those that the model lacks."""
    notes = []
    if new:
        notes.append(
            f'NEW AND RANDOM: the checkpoint lacks weights of the head "{head}", so its outputs mean nothing until you '
            f"train it: {listing(new)}."
        )
    if left_out:
        notes.append(f'Left out: weights of the checkpoint without a place in the head "{head}": {listing(left_out)}.')
    return notes


def new_weights(native: PreTrainedModel, family: Family, head: str, report: dict[str, Any], source: str) -> set[str]:
    """Weights of the head that the checkpoint lacks, or has in another size: they keep random values, as in
    transformers. Raises ConversionError if it lacks weights of the base model.

    Two other things may be missing: a pooler that was not saved (it is removed), and tables that are computed."""
    missing = set(report["missing_keys"]) | {key[0] for key in report["mismatched_keys"]}
    if missing and all(name.startswith("pooler.") for name in missing):
        native.register_module("pooler", None)
        return set()
    # without a head, the names of the base model have no prefix
    prefix = "" if head in ("base", "encoder") else native.base_model_prefix + "."
    missing -= {prefix + name for rule in family.base_weights if not rule.ours for name in rule.native}
    missing_base = {name for name in missing if name.startswith(prefix) and "pooler." not in name}
    if missing_base:
        raise ConversionError(f"{source} lacks weights of the base model: {listing(missing_base)}.")
    return missing
