"""Opens what a person names for an inspection: one of our checkpoints, or a native one, which is converted."""

import copy
import os
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedModel

from ..conversion.auto_classes import TFM_CONFIGS
from ..conversion.checkpoint_files import read_config
from ..conversion.convert import convert_to_ours, from_native
from ..conversion.convert_command import load_tokenizer
from ..conversion.native_checkpoints import load_native, weight_notes
from ..conversion.whole_checkpoints import check_shapes, load_model
from ..modeling.modeling_tfm import TfmPreTrainedModel, subclasses

__all__ = ["Loaded", "display_name", "load_for_inspection"]


class Loaded(NamedTuple):
    """A model of ours, its tokenizer (None without one), and what its reader should know of its weights."""

    model: Any
    tokenizer: Any
    notes: list[str]


def load_for_inspection(source: Any, dtype: Any = None, head: str | None = None, allow_pickle: bool = False) -> Loaded:
    """`source`: a folder or Hub name of a checkpoint, ours or native, or a model. `dtype`: a dtype of torch (default:
    that of the checkpoint). `head`: of a native checkpoint, see `from_native`. `allow_pickle`: also read weights that
    are not in safetensors; pickled files can run code.

    Raises ValueError for a checkpoint that is damaged, or that cannot be converted, with the reason."""
    if isinstance(source, PreTrainedModel):
        ours = source if isinstance(source, TfmPreTrainedModel) else from_native(source)
        return Loaded(ours if dtype is None else copy.deepcopy(ours).to(dtype), None, [])
    if not isinstance(source, str | os.PathLike):
        raise ValueError(
            f"An inspection takes a model of transformers, a folder or a Hub name; got a {type(source).__name__}. Give "
            "the model that it wraps."
        )
    source = os.fspath(source)
    fields = read_config(source)
    if fields["model_type"] in TFM_CONFIGS:
        model, notes = load_ours(source, fields, dtype, allow_pickle)
    else:
        native, notes = load_native(source, head, dtype, allow_pickle)
        model = convert_to_ours(native).model
    tokenizer, _ = load_tokenizer(source, len(model.get_input_embeddings().weight))
    return Loaded(model.eval(), tokenizer, notes)


def load_ours(source: str, fields: dict[str, Any], dtype: Any, allow_pickle: bool) -> tuple[Any, list[str]]:
    """One of our models as the class that wrote it. Raises ValueError for a class that is not in the package."""
    name = (fields.get("architectures") or ["no class"])[0]
    writer = next((cls for cls in subclasses(TfmPreTrainedModel) if cls.__name__ == name), None)
    if writer is None:
        raise ValueError(
            f"{source} was written by {name}, which is not part of hf_tfm: open it with that class, and give the model "
            "instead of the folder."
        )
    loaded = load_model(writer, source, allow_pickle, dtype="auto" if dtype is None else dtype)
    check_shapes(source, loaded.other_shapes)
    return loaded.model, weight_notes(name, loaded.new, loaded.left_out)


def display_name(source: Any) -> str:
    """How a page calls a model: a Hub name as it is, of a folder the last part alone."""
    if isinstance(source, PreTrainedModel):
        return display_name(source.config.name_or_path) if source.config.name_or_path else type(source).__name__
    return Path(source).resolve().name if Path(source).exists() else source
