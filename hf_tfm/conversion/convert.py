"""Converts a native model to ours and back: first the configuration, then every tensor by its rule."""

import copy
import inspect
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from ..modeling.modeling_tfm import TfmPreTrainedModel
from .auto_classes import head_of_model, model_class
from .bidirectional import as_encoder
from .checkpoint_files import check_plain_weights
from .config_diff import output_differences, training_differences
from .errors import ConversionError
from .family import Family
from .native_checkpoints import has_unlisted_class, load_from_model, load_native
from .parity_check import ParityCheck, stored_dtype
from .registry import FAMILIES, family_of, get_family
from .weight_map import resolve
from .weight_transfer import StateDict, take_state_dict, transfer_weights
from .whole_checkpoints import errors_of
from .width_scaling import fold_width_scaling, without_width_scaling

__all__ = ["convert_to_native", "convert_to_ours", "from_native", "to_native"]

logger = logging.get_logger(__name__)


def from_native(
    source: Any,
    head: str | None = None,
    *,
    dtype: Any = None,
    allow_pickle: bool = False,
    verify: bool = True,
    **kwargs: Any,
) -> TfmPreTrainedModel:
    """Converts a native Hugging Face model to one of ours, with equal outputs.

    `source`: a folder, a Hub name, or a native model (which stays unchanged). `head`: one of `AUTO_CLASSES`; None means
    the head of the checkpoint. A head that the checkpoint lacks gets random weights, with a warning that names them.
    `dtype`: None keeps the dtype of the checkpoint, or takes float32 where a lower precision cannot hold the converted
    weights (norms of Gemma). `allow_pickle`: also read weights that are not in safetensors; pickled files can run code.
    `verify`: give both models 24 tokens and compare their outputs. `kwargs`: further arguments of the native
    `from_pretrained` (revision, token, num_labels, ...).

    Raises ConversionError with the name of the family, head or configuration field that has no equivalent, or with the
    difference of the outputs if that is more than rounding."""
    is_model = isinstance(source, PreTrainedModel)
    if is_model and kwargs:
        raise ConversionError(f"The model is already loaded; give {', '.join(kwargs)} to its from_pretrained instead.")
    notes: list[str] = []
    if not is_model:
        native, notes = load_native(source, head, dtype, allow_pickle, **kwargs)
    elif has_unlisted_class(source):
        native, notes = load_from_model(source, head)
    elif head not in (None, head_of_model(source)):
        raise ConversionError(
            f'The model has the head "{head_of_model(source)}", not "{head}"; give its folder or Hub name instead.'
        )
    else:
        native = source
    for note in notes:
        logger.warning(note)
    return convert_to_ours(native, copy_weights=native is source, verify=verify).model


def to_native(model: TfmPreTrainedModel, family: str | None = None, *, verify: bool = True) -> PreTrainedModel:
    """Converts one of our models to a native Hugging Face model of `family` (a model type such as "llama"), with equal
    outputs. Our model stays unchanged.

    None means the family that the model came from, or else the only one that can represent it. `verify`: as in
    `from_native`. Warns about settings for training that the family does not have (kinds of dropout). Raises
    ConversionError with the configuration fields that have no equivalent, or with the difference of the outputs if that
    is more than rounding."""
    return convert_to_native(model, family, copy_weights=True, verify=verify).model


class Conversion(NamedTuple):
    """A converted model, and the largest difference of its outputs, relative to the largest one; None if they were not
    compared."""

    model: Any
    difference: float | None


# To ours


def convert_to_ours(native: PreTrainedModel, copy_weights: bool = False, verify: bool = True) -> Conversion:
    """Our model from a native one. Unless `copy_weights`, the native model loses its tensors and cannot be used
    again."""
    family = family_of(native.config)
    head = head_of_model(native)
    family.check_head(head)
    if family.needs_float32 and native.dtype not in (torch.float32, torch.float64):
        raise ConversionError(
            f"{native.dtype} cannot hold the converted weights of {family.name}: convert in float32 "
            "(dtype=torch.float32) and cast the result."
        )
    with errors_of(f"A {family.name} of this configuration", "making our model"), torch.device("meta"):
        config = family.config_to_ours(native.config, head, fields_from_tensors(native, head))
        our_class = model_class(config, family.our_head(head))
        empty = our_class(config)
    check = parity_check(native, head, verify)
    tables = stored_tables(native, head, family)
    dtype = native.dtype
    state = take_state_dict(native, copy_weights)
    weight_map = family.weight_map(head, native_prefix(state, native), our_prefix(head))
    rules = resolve(weight_map, family.read_weights(head, state), set(empty.state_dict()), config)
    model = load_converted(our_class, config, transfer_weights(rules, state, config), dtype)
    return Conversion(with_generation_config(model, native), compare(check, model, tables))


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
    model: TfmPreTrainedModel, family_name: str | None, copy_weights: bool = False, verify: bool = True
) -> Conversion:
    """The native model from ours. Unless `copy_weights`, our model loses its tensors and cannot be used again."""
    check_plain_weights(f"The {model.config.model_type}", getattr(model.config, "quantization_config", None))
    our_head, ours = head_of_model(model), without_width_scaling(model.config)
    family = get_family(family_name or ours.origin or only_possible_family(ours, our_head))
    if (family.our_model_type, ours.model_type) == ("tfm_decoder", "tfm_encoder"):
        family = as_encoder(family)
    head = family.native_head(our_head)
    config, training_losses = equivalent_native_config(family, ours, our_head)
    if ours is not model.config:
        training_losses.append(f'learning rates by width_scaling="{model.config.width_scaling}"')
    for loss in training_losses:
        logger.warning(f"{family.name} has no equivalent of {loss}; this affects only training.")
    native_class = model_class(config, head)
    arguments = constructor_arguments(native_class, model)
    with errors_of(f"A {our_head} model of this configuration", f"making a {family.name}"), torch.device("meta"):
        empty = native_class(copy.deepcopy(config), **arguments)
    check = parity_check(model, our_head, verify)
    shapes, dtype = {name: tensor.shape for name, tensor in empty.state_dict().items()}, model.dtype
    names = family.read_weights(head, shapes)
    state = fold_width_scaling(take_state_dict(model, copy_weights), model.config, our_head)
    weight_map = family.weight_map(head, native_prefix(names, empty), our_prefix(head))
    rules = resolve(weight_map, names, set(state), ours)
    state = transfer_weights(rules, state, ours, to_native=True)
    state |= {name: torch.zeros(shape) for name, shape in shapes.items() if name not in names}
    native = load_converted(native_class, config, state, dtype, **arguments)
    return Conversion(
        with_generation_config(native, model), compare(check, native, stored_tables(native, head, family))
    )


def equivalent_native_config(family: Family, ours: Any, our_head: str) -> tuple[PreTrainedConfig, list[str]]:
    """The native configuration that is equivalent to ours, and the settings for training that it does not have. Raises
    ConversionError with the fields that have no equivalent."""
    head = family.native_head(our_head)
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
    except (StrictDataclassError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConversionError(f"{family.name} cannot represent this model: {error}") from error
    differences = output_differences(ours, converted, our_head)
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


def parity_check(model: PreTrainedModel, head: str, verify: bool) -> ParityCheck | None:
    """The outputs of a model before its conversion, or None if they are not to be compared. Raises ConversionError if
    the weights are not in memory."""
    on_meta = [name for name, tensor in model.state_dict().items() if tensor.is_meta]
    if on_meta:
        raise ConversionError(
            f"{len(on_meta)} weights are offloaded or on the meta device, such as {on_meta[0]}; load the model into "
            "memory (without device_map) to convert it."
        )
    return ParityCheck(model, head) if verify else None


def compare(check: ParityCheck | None, converted: PreTrainedModel, tables: list[Tensor]) -> float | None:
    """The largest difference of the outputs. `tables`: native ones that our model computes; if they were rounded, the
    outputs may differ as much as others of their precision."""
    return None if check is None else check.compare(converted, {stored_dtype(table) for table in tables})


def stored_tables(native: PreTrainedModel, head: str, family: Family) -> list[Tensor]:
    """Tables of a native model that ours computes."""
    state = native.state_dict()
    weight_map = family.weight_map(head, native_prefix(state, native), our_prefix(head))
    names = [name for rule in weight_map if not rule.ours for name in rule.native]
    return [state[name] for name in names if name in state]


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
