"""Loads a model from a checkpoint, native or ours, and refuses one that is damaged: the loader of transformers gives
random values to weights that it does not find, and ignores those that it does not know."""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from .auto_classes import model_class
from .checkpoint_files import check_plain_weights, check_weight_files, hub_options, read_config, read_json
from .errors import ConversionError
from .weight_map import listing

__all__ = ["LoadedModel", "base_prefix", "check_base_weights", "check_shapes", "errors_of", "load_model", "load_tfm"]


class LoadedModel(NamedTuple):
    """A model, and how the weights of its checkpoint fit.

    `new`: names of weights that are random, since the checkpoint lacks them. `other_shapes`: those of them that the
    checkpoint has in another shape, and both shapes as text. `left_out`: weights of the checkpoint that the model does
    not have."""

    model: Any
    new: set[str]
    other_shapes: dict[str, str]
    left_out: set[str]


@contextmanager
def errors_of(source: str, reading: str) -> Iterator[None]:
    """Raises ConversionError, with the name of the checkpoint, for whatever transformers raises while it reads one with
    values that it does not expect. Errors of files and of memory name their cause themselves."""
    try:
        yield
    except (ConversionError, OSError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise ConversionError(f"{source}: {reading} failed with {type(error).__name__}: {text}") from error


def load_model(native_or_our_class: Any, source: str, allow_pickle: bool = False, **kwargs: Any) -> LoadedModel:
    """The model of a checkpoint. `allow_pickle`: see `from_native`. `kwargs`: further arguments of `from_pretrained`.

    Raises ConversionError if a file is missing, cut short, pickled or quantised, if transformers cannot build the model
    from its configuration, or if the checkpoint has more layers than that says. See `check_shapes` for the others."""
    options = hub_options(kwargs)
    fields = read_config(source, **options)
    read_json(source, "generation_config.json", **options)
    check_plain_weights(source, fields.get("quantization_config"))
    check_weight_files(source, allow_pickle, fields.get("transformers_weights"), kwargs.get("variant"), **options)
    with errors_of(source, f"loading a {native_or_our_class.__name__}"):
        model, report = native_or_our_class.from_pretrained(
            source,
            use_safetensors=None if allow_pickle else True,
            output_loading_info=True,
            **kwargs | {"ignore_mismatched_sizes": True},
        )
    other_shapes = {
        name: f"{tuple(stored)} in the files, {tuple(expected)} in the model"
        for name, stored, expected in sorted(report["mismatched_keys"])
    }
    left_out = set(report["unexpected_keys"])
    further = weights_of_further_layers(left_out, model.state_dict())
    if further and not any("layer" in name for name in kwargs):
        raise ConversionError(f"{source} has weights of layers that config.json does not count: {listing(further)}.")
    return LoadedModel(model, set(report["missing_keys"]) | other_shapes.keys(), other_shapes, left_out)


def check_shapes(source: str, other_shapes: dict[str, str], advice: str = "") -> None:
    """Raises ConversionError, ending with `advice`, if a checkpoint has weights of other shapes than its model."""
    if other_shapes:
        name, shapes = next(iter(other_shapes.items()))
        more = f" (and {len(other_shapes) - 1} more weights)" if len(other_shapes) > 1 else ""
        raise ConversionError(
            f"{source}: {name}{more} has another shape than its config.json and the arguments say: {shapes}.{advice}"
        )


def weights_of_further_layers(names: set[str], known: Collection[str]) -> set[str]:
    """Names that differ from known ones only by a number."""
    patterns = {re.sub(r"\d+", "N", name) for name in known}
    return {name for name in names if re.sub(r"\d+", "N", name) in patterns}


def base_prefix(model: Any) -> str:
    """What stands before the names of the base model within a model; nothing if that is the model itself."""
    return f"{model.base_model_prefix}." if hasattr(model, model.base_model_prefix) else ""


def check_base_weights(source: str, missing: Collection[str]) -> None:
    """Raises ConversionError if weights of the base model are missing."""
    names = {name for name in missing if "pooler." not in name}
    if names:
        raise ConversionError(
            f"{source} lacks weights of the base model, which would be random: {listing(names)}. Its files are "
            "incomplete, or its config.json belongs to another model."
        )


def load_tfm(config: Any, head: str, source: str, allow_pickle: bool, dtype: Any) -> LoadedModel:
    """The model of one of our checkpoints with this head. Raises ConversionError as `load_model` does, and if weights
    of the base model are missing."""
    loaded = load_model(model_class(config, head), source, allow_pickle, dtype=dtype)
    check_shapes(source, loaded.other_shapes)
    prefix = base_prefix(loaded.model)
    check_base_weights(source, [name for name in loaded.new if name.startswith(prefix)])
    return loaded
