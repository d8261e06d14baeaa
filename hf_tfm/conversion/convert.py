"""From a native model to ours and back: the configuration is said, then every tensor is moved by its row."""

import copy
import inspect
from collections.abc import Iterable
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from ..modeling.modeling_tfm import TfmPreTrainedModel
from .compare import differences, training_differences
from .families import FAMILIES, family_named
from .family import Family, head_of, model_class
from .moving import State, moved, tensors_of
from .opening import open_native
from .rows import ConversionError, match

__all__ = ["from_native", "native_of", "ours_of", "to_native"]

logger = logging.get_logger(__name__)


def from_native(
    source: Any, head: str | None = None, *, dtype: Any = None, allow_pickle: bool = False, **loading: Any
) -> TfmPreTrainedModel:
    """A native Hugging Face model as one of ours, with equal numbers.

    `source`: a folder, a Hub name, or a native model (which is left as it is). `head`: a word of `HEADS`; None: the
    one that the checkpoint has. A head that the checkpoint lacks starts from random weights, as natively, and the host
    says so. `dtype`: None keeps the checkpoint's, or takes float32 where the family's weights cannot be moved in less
    (Gemma's norms). `allow_pickle`: read weights that are not in safetensors; pickled files can run code. `loading`:
    what else the native `from_pretrained` takes (revision, token, num_labels ..).

    Raises ConversionError if the family, the head, or a field of the configuration cannot be said, naming it."""
    if isinstance(source, PreTrainedModel):
        if head not in (None, head_of(source)):
            raise ConversionError(f'The model has the head "{head_of(source)}", not "{head}"; give its folder or name.')
        if loading:
            raise ConversionError(f"The model is loaded already: {', '.join(loading)} belong to its from_pretrained.")
        return ours_of(source, keep=True)
    return ours_of(open_native(source, head, dtype, allow_pickle, **loading))


def to_native(model: TfmPreTrainedModel, family: str | None = None) -> PreTrainedModel:
    """One of our models as a native Hugging Face model of `family` (a model type, "llama"), with equal numbers.

    None: the family that the model came from, else the only one that can say it. Training-only settings that the family
    lacks (places of dropout) are warned of. Raises ConversionError naming the first fields that cannot be said."""
    return native_of(model, family, keep=True)


def ours_of(native: PreTrainedModel, keep: bool = False) -> TfmPreTrainedModel:
    """Our model of a native one, whose tensors become ours: it must not be used again, unless `keep` copies them."""
    family = family_named(native.config.model_type)
    head = head_of(native)
    if head not in family.heads:
        raise ConversionError(f'{family.name} is converted with the heads {", ".join(family.heads)}; not "{head}".')
    if family.rounds and native.dtype not in (torch.float32, torch.float64):
        raise ConversionError(
            f"{family.name} folds numbers into its weights that {native.dtype} cannot hold: convert in float32 "
            "(dtype=torch.float32) and cast the result."
        )
    config = family.our_config(native.config, head, found_words(native, head))
    our_class = model_class(config, head)
    with torch.device("meta"):
        empty = our_class(config)
    dtype = native.dtype
    state = tensors_of(native, keep)
    rows = family.rows(head, prefix_of(state, native), our_prefix(head))
    moves = match(rows, set(state), set(empty.state_dict()), config)
    model = built(our_class, config, moved(moves, state, config), dtype, {})
    return with_generation(model, native)


def found_words(native: PreTrainedModel, head: str) -> dict[str, Any]:
    """What only the tensors tell: which tables are one, and whether there is a pooler."""
    words: dict[str, Any] = {}
    table, out = native.get_input_embeddings(), native.get_output_embeddings()
    if out is not None:
        decoder = native.get_decoder().get_input_embeddings() if native.config.is_encoder_decoder else table
        words["tie_word_embeddings"] = out.weight is decoder.weight
    if native.config.is_encoder_decoder and head != "encoder":
        sides = [native.get_encoder().get_input_embeddings(), native.get_decoder().get_input_embeddings()]
        words["tie_encoder_decoder_embeddings"] = sides[0].weight is sides[1].weight
    if head == "base" and any(name.startswith("pooler.") for name in native.state_dict()):
        words["add_pooling_layer"] = True
    return words


def prefix_of(keys: Iterable[str], native: Any) -> str:
    """What stands before the names of the base model in a native model with a head."""
    prefix = native.base_model_prefix + "."
    return prefix if any(key.startswith(prefix) for key in keys) else ""


def our_prefix(head: str) -> str:
    return "" if head in ("base", "encoder") else "model."


def built(model_class: Any, config: Any, state: State, dtype: Any, options: dict[str, Any]) -> Any:
    """A model of these tensors, through the host's loader: it ties what is tied and fills what is computed."""
    model, report = model_class.from_pretrained(
        None, config=config, state_dict=state, dtype=dtype, output_loading_info=True, **options
    )
    wrong = {kind: report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") if report[kind]}
    if wrong:
        raise ConversionError(f"The converted tensors do not fit {model_class.__name__}: {wrong}.")
    # the host writes the absent path as a word
    model.name_or_path = model.config.name_or_path = ""
    return model.eval()


def with_generation(model: Any, source: Any) -> Any:
    """`model` with the generation settings of `source`, where it generates."""
    if model.can_generate() and source.can_generate():
        model.generation_config = source.generation_config
    return model


def native_of(model: TfmPreTrainedModel, family: str | None, keep: bool = False) -> PreTrainedModel:
    """The native model of ours, whose tensors become native: it must not be used again, unless `keep` copies them."""
    head = head_of(model)
    chosen = family_named(family or model.config.origin or only_fit(model.config, head))
    config, losses = native_config(chosen, model.config, head)
    for loss in losses:
        logger.warning(f"{chosen.name} cannot say {loss}: it matters in training alone.")
    native_class = model_class(config, head)
    options = class_options(native_class, model)
    with torch.device("meta"):
        empty = native_class(copy.deepcopy(config), **options)
    keys = set(empty.state_dict())
    rows, dtype = chosen.rows(head, prefix_of(keys, empty), our_prefix(head)), model.dtype
    state = tensors_of(model, keep)
    moves = match(rows, keys, set(state), model.config)
    native = built(native_class, config, moved(moves, state, model.config, backward=True), dtype, options)
    return with_generation(native, model)


def native_config(family: Family, ours: Any, head: str) -> tuple[PreTrainedConfig, list[str]]:
    """The native configuration of ours, and what of training it does not say. Raises ConversionError naming the fields
    that the family cannot say."""
    if head not in family.heads:
        raise ConversionError(f'{family.name} is converted with the heads {", ".join(family.heads)}; not "{head}".')
    if family.architecture != ours.model_type:
        raise ConversionError(f"{family.name} is a {family.architecture}; the model is a {ours.model_type}.")
    found = {
        name: getattr(ours, name)
        for name in ("tie_word_embeddings", "tie_encoder_decoder_embeddings", "add_pooling_layer")
        if hasattr(ours, name)
    }
    try:
        config = family.native_config(ours, head)
        said = family.our_config(config, head, found)
    except (StrictDataclassError, KeyError, TypeError, ValueError) as error:
        raise ConversionError(f"{family.name} cannot say this model: {error}") from error
    wrong = differences(ours, said, head)
    if wrong:
        raise ConversionError(f"{family.name} cannot say " + "; ".join(wrong) + ".")
    return config, training_differences(ours, said)


def only_fit(ours: Any, head: str) -> str:
    """The only family that can say a configuration. Raises ConversionError if there are none or several."""
    fits = []
    for family in FAMILIES.values():
        try:
            native_config(family, ours, head)
        except ConversionError:
            continue
        fits.append(family.name)
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise ConversionError(f"Several families can say this model; choose one: {', '.join(fits)}.")
    raise ConversionError("No native family can say this model; family=NAME tells what is in the way of one.")


def class_options(native_class: Any, model: Any) -> dict[str, Any]:
    """Arguments of a native class beside its configuration."""
    takes = "add_pooling_layer" in inspect.signature(native_class.__init__).parameters
    return {"add_pooling_layer": model.config.add_pooling_layer} if takes else {}
