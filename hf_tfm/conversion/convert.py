"""Converts a native model to ours and back: first the configuration, then every tensor by its rule."""

import copy
import inspect
from collections.abc import Iterable
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from ..modeling.modeling_tfm import TfmPreTrainedModel
from .auto_classes import head_of_model, model_class
from .config_diff import output_differences, training_differences
from .errors import ConversionError
from .family import Family
from .native_checkpoints import load_native
from .registry import FAMILIES, get_family
from .weight_map import resolve
from .weight_transfer import StateDict, take_state_dict, transfer_weights

__all__ = ["convert_to_native", "convert_to_ours", "from_native", "to_native"]

logger = logging.get_logger(__name__)


def from_native(
    source: Any, head: str | None = None, *, dtype: Any = None, allow_pickle: bool = False, **kwargs: Any
) -> TfmPreTrainedModel:
    """Converts a native Hugging Face model to one of ours, with equal outputs.

    `source`: a folder, a Hub name, or a native model (which stays unchanged). `head`: one of `AUTO_CLASSES`; None means
    the head of the checkpoint. A head that the checkpoint lacks gets random weights, with the warning of transformers.
    `dtype`: None keeps the dtype of the checkpoint, or takes float32 where a lower precision cannot hold the converted
    weights (norms of Gemma). `allow_pickle`: also read weights that are not in safetensors; pickled files can run code.
    `kwargs`: further arguments of the native `from_pretrained` (revision, token, num_labels, ...).

    Raises ConversionError with the name of the family, head or configuration field that has no equivalent."""
    if isinstance(source, PreTrainedModel):
        if head not in (None, head_of_model(source)):
            raise ConversionError(
                f'The model has the head "{head_of_model(source)}", not "{head}"; give its folder or Hub name instead.'
            )
        if kwargs:
            raise ConversionError(
                f"The model is already loaded; give {', '.join(kwargs)} to its from_pretrained instead."
            )
        return convert_to_ours(source, copy_weights=True)
    return convert_to_ours(load_native(source, head, dtype, allow_pickle, **kwargs))


def to_native(model: TfmPreTrainedModel, family: str | None = None) -> PreTrainedModel:
    """Converts one of our models to a native Hugging Face model of `family` (a model type such as "llama"), with equal
    outputs. Our model stays unchanged.

    None means the family that the model came from, or else the only one that can represent it. Warns about settings for
    training that the family does not have (kinds of dropout). Raises ConversionError with the configuration fields that
    have no equivalent."""
    return convert_to_native(model, family, copy_weights=True)


# To ours


def convert_to_ours(native: PreTrainedModel, copy_weights: bool = False) -> TfmPreTrainedModel:
    """Our model from a native one. Unless `copy_weights`, the native model loses its tensors and cannot be used
    again."""
    family = get_family(native.config.model_type)
    head = head_of_model(native)
    family.check_head(head)
    if family.needs_float32 and native.dtype not in (torch.float32, torch.float64):
        raise ConversionError(
            f"{native.dtype} cannot hold the converted weights of {family.name}: convert in float32 "
            "(dtype=torch.float32) and cast the result."
        )
    config = family.config_to_ours(native.config, head, fields_from_tensors(native, head))
    our_class = model_class(config, head)
    with torch.device("meta"):
        empty = our_class(config)
    dtype = native.dtype
    state = take_state_dict(native, copy_weights)
    weight_map = family.weight_map(head, native_prefix(state, native), our_prefix(head))
    rules = resolve(weight_map, set(state), set(empty.state_dict()), config)
    model = load_converted(our_class, config, transfer_weights(rules, state, config), dtype)
    return with_generation_config(model, native)


def fields_from_tensors(native: PreTrainedModel, head: str) -> dict[str, Any]:
    """Our fields that only the tensors tell: which embeddings are tied, and whether there is a pooler."""
    fields: dict[str, Any] = {}
    embedding, output_embedding = native.get_input_embeddings(), native.get_output_embeddings()
    if output_embedding is not None:
        if native.config.is_encoder_decoder:
            embedding = native.get_decoder().get_input_embeddings()
        fields["tie_word_embeddings"] = output_embedding.weight is embedding.weight
    if native.config.is_encoder_decoder and head != "encoder":
        encoder_embedding = native.get_encoder().get_input_embeddings()
        decoder_embedding = native.get_decoder().get_input_embeddings()
        fields["tie_encoder_decoder_embeddings"] = encoder_embedding.weight is decoder_embedding.weight
    if head == "base" and any(name.startswith("pooler.") for name in native.state_dict()):
        fields["add_pooling_layer"] = True
    return fields


# To native


def convert_to_native(
    model: TfmPreTrainedModel, family_name: str | None, copy_weights: bool = False
) -> PreTrainedModel:
    """The native model from ours. Unless `copy_weights`, our model loses its tensors and cannot be used again."""
    head = head_of_model(model)
    family = get_family(family_name or model.config.origin or only_possible_family(model.config, head))
    config, training_losses = equivalent_native_config(family, model.config, head)
    for loss in training_losses:
        logger.warning(f"{family.name} has no equivalent of {loss}; this affects only training.")
    native_class = model_class(config, head)
    arguments = constructor_arguments(native_class, model)
    with torch.device("meta"):
        empty = native_class(copy.deepcopy(config), **arguments)
    names, dtype = set(empty.state_dict()), model.dtype
    state = take_state_dict(model, copy_weights)
    weight_map = family.weight_map(head, native_prefix(names, empty), our_prefix(head))
    rules = resolve(weight_map, names, set(state), model.config)
    state = transfer_weights(rules, state, model.config, to_native=True)
    native = load_converted(native_class, config, state, dtype, **arguments)
    return with_generation_config(native, model)


def equivalent_native_config(family: Family, ours: Any, head: str) -> tuple[PreTrainedConfig, list[str]]:
    """The native configuration that is equivalent to ours, and the settings for training that it does not have. Raises
    ConversionError with the fields that have no equivalent."""
    family.check_head(head)
    if family.our_model_type != ours.model_type:
        raise ConversionError(
            f"{family.name} is equivalent to a {family.our_model_type}; this model is a {ours.model_type}."
        )
    tensor_fields = {
        name: getattr(ours, name)
        for name in ("tie_word_embeddings", "tie_encoder_decoder_embeddings", "add_pooling_layer")
        if hasattr(ours, name)
    }
    try:
        native = family.config_to_native(ours, head)
        converted = family.config_to_ours(native, head, tensor_fields)
    except (StrictDataclassError, KeyError, TypeError, ValueError) as error:
        raise ConversionError(f"{family.name} cannot represent this model: {error}") from error
    differences = output_differences(ours, converted, head)
    if differences:
        raise ConversionError(f"{family.name} cannot represent this model: {'; '.join(differences)}.")
    return native, training_differences(ours, converted)


def only_possible_family(ours: Any, head: str) -> str:
    """The only family that can represent a configuration. Raises ConversionError if there is none, or several."""
    possible = []
    for family in FAMILIES.values():
        try:
            equivalent_native_config(family, ours, head)
        except ConversionError:
            continue
        possible.append(family.name)
    if not possible:
        raise ConversionError(
            "No native family can represent this model; choose one with family=NAME to see which fields prevent it."
        )
    if len(possible) > 1:
        raise ConversionError(f"Several families can represent this model; choose one: {', '.join(possible)}.")
    return possible[0]


def constructor_arguments(native_class: Any, model: Any) -> dict[str, Any]:
    """Arguments of a native class besides its configuration."""
    if "add_pooling_layer" in inspect.signature(native_class.__init__).parameters:
        return {"add_pooling_layer": model.config.add_pooling_layer}
    return {}


# Both directions


def native_prefix(names: Iterable[str], native: Any) -> str:
    """What stands before the parameter names of the base model in a native model."""
    prefix = native.base_model_prefix + "."
    return prefix if any(name.startswith(prefix) for name in names) else ""


def our_prefix(head: str) -> str:
    """What stands before the parameter names of the base model in ours."""
    return "" if head in ("base", "encoder") else "model."


def load_converted(model_class: Any, config: Any, state: StateDict, dtype: Any, **arguments: Any) -> Any:
    """A model with these tensors. The loader of transformers ties weights and computes buffers."""
    model, report = model_class.from_pretrained(
        None, config=config, state_dict=state, dtype=dtype, output_loading_info=True, **arguments
    )
    errors = {kind: report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") if report[kind]}
    if errors:
        raise ConversionError(f"The converted tensors do not fit {model_class.__name__}: {errors}.")
    # transformers writes the missing path as the string "None"
    model.name_or_path = model.config.name_or_path = ""
    return model.eval()


def with_generation_config(model: Any, source: Any) -> Any:
    """`model` with the generation config of `source`, if both generate."""
    if model.can_generate() and source.can_generate():
        model.generation_config = source.generation_config
    return model
