"""Loads native checkpoints from folders and the Hub with the loader of transformers."""

from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from .auto_classes import AUTO_CLASSES, TFM_CONFIGS, head_and_reason, model_class, registered_classes, saved_class
from .checkpoint_files import check_plain_weights, hub_options, read_config
from .errors import ConversionError
from .family import Family
from .registry import family_of, get_family
from .weight_map import listing
from .whole_checkpoints import base_prefix, check_base_weights, check_shapes, errors_of, load_model

__all__ = [
    "NativeCheckpoint", "has_unlisted_class", "load_from_model", "load_native", "weight_notes",
]  # fmt: skip


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
    are pickled, quantised or damaged, or weights of the base model are missing."""
    config = native_config(source, **hub_options(kwargs))
    family = family_of(config)
    reason = None
    if head is None:
        head, reason = head_and_reason(config)
    native, notes, has_head = load_weights(source, config, family, head, dtype, allow_pickle, **kwargs)
    if reason is not None and not has_head:
        native, notes, _ = load_weights(source, config, family, "base", dtype, allow_pickle, **kwargs)
        reason = f'Opened without a head: the checkpoint names {saved_class(config)} and has no weights of "{head}".'
    return NativeCheckpoint(native, notes if reason is None else [reason, *notes])


def has_unlisted_class(model: PreTrainedModel) -> bool:
    """Whether a model in memory has a class of transformers that belongs to no Auto class (BertForPreTraining). Those
    of users may compute something else than the class whose name they resemble."""
    config_class, listed = type(model.config), AUTO_CLASSES.values()
    is_listed = any(type(model) in registered_classes(auto_class, config_class) for auto_class in listed)
    return type(model).__module__.startswith("transformers.") and not is_listed


def load_from_model(model: PreTrainedModel, head: str | None) -> NativeCheckpoint:
    """The native model that opens the file of a model in memory."""
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_native(folder, head, model.dtype)


def native_config(source: str, **options: Any) -> PreTrainedConfig:
    """The configuration of a native checkpoint. Raises ConversionError if its model type cannot be converted, without
    looking for the code of one that transformers does not know."""
    fields = read_config(source, **options)
    check_model_type(source, fields)
    check_plain_weights(source, fields.get("quantization_config"))
    with errors_of(source, "reading config.json"):
        return AutoConfig.from_pretrained(source, **options)


def check_model_type(source: str, fields: dict[str, Any]) -> None:
    """Raises ConversionError if the model of a config.json cannot be converted."""
    model_type = fields["model_type"]
    if model_type in TFM_CONFIGS:
        raise ConversionError(
            f"{source} is already a {model_type}, which from_pretrained loads; a native checkpoint is wanted here "
            "(`hf-tfm convert --to native` makes one)."
        )
    other_encoders = sorted({"vision_config", "audio_config"} & fields.keys())
    if other_encoders:
        raise ConversionError(
            f"{source} is a {model_type} with {other_encoders[0]}: only text models can be converted."
        )
    get_family(model_type)


def load_weights(
    source: str, config: PreTrainedConfig, family: Family, head: str, dtype: Any, allow_pickle: bool, **kwargs: Any
) -> tuple[PreTrainedModel, list[str], bool]:
    """The native model with this head, the notes about its weights, and whether the checkpoint has all of them."""
    family.check_head(head)
    native_class = model_class(config, head)
    # native heads have num_labels outputs, and fail unless these are the two of a span
    span = {"num_labels": 2} if head == "question-answering" else {}
    kwargs = {**span, **family.native_head_fields.get(head, {}), **kwargs}
    if dtype is None:
        dtype = torch.float32 if family.needs_float32 else "auto"
    loaded = load_model(native_class, source, allow_pickle, dtype=dtype, **kwargs)
    if not kwargs.get("ignore_mismatched_sizes"):
        check_shapes(source, loaded.other_shapes)
    new = new_weights(loaded.model, family, head, family.read_weights(head, loaded.new), source)
    parameters = {name for name, _ in loaded.model.named_parameters()}
    unread = parameters - family.read_weights(head, parameters) - loaded.new
    return loaded.model, weight_notes(head, new, loaded.left_out | unread), not new


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


def new_weights(native: PreTrainedModel, family: Family, head: str, missing: set[str], source: str) -> set[str]:
    """Weights of the head among the missing ones: they keep random values, as in transformers. Raises ConversionError
    if weights of the base model are missing.

    Two other things may be missing: a pooler that was not saved (it is removed), and tables that are computed."""
    if missing and all(name.startswith("pooler.") for name in missing):
        native.register_module("pooler", None)
        return set()
    prefix = base_prefix(native)
    missing = missing - {prefix + name for rule in family.base_weights if not rule.ours for name in rule.native}
    # some native heads (T5) have no base model apart from themselves
    head_names = () if prefix else tuple(name for rule in family.head_weights[head] for name in rule.native)
    check_base_weights(
        source, [name for name in missing if name.startswith(prefix) and not name.startswith(head_names)]
    )
    return missing
