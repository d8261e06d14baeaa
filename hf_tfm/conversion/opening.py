"""Native checkpoints in folders and on the Hub, opened by the host's own loader."""

from typing import Any

import torch
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from .families import family_named
from .family import CONFIGS, HEADS, Family, model_class
from .rows import ConversionError

__all__ = ["named_head", "open_native"]


def open_native(
    source: str, head: str | None, dtype: Any = None, allow_pickle: bool = False, **loading: Any
) -> PreTrainedModel:
    """The native model of a checkpoint; see `from_native`. Raises ConversionError if it is one of ours, its family or
    head has no counterpart, its weights are pickled, or those of the base model are not all there."""
    config = AutoConfig.from_pretrained(source, **{k: v for k, v in loading.items() if k in OF_HUB})
    if config.model_type in CONFIGS:
        raise ConversionError(f"{source} is a {config.model_type}, one of ours already: open it with from_pretrained.")
    family = family_named(config.model_type)
    head = head or named_head(config)
    native_class = model_class(config, head)
    loading = {**family.head_fields.get(head, {}), **loading}
    if dtype is None:
        dtype = torch.float32 if family.rounds else "auto"
    try:
        native, report = native_class.from_pretrained(
            source, dtype=dtype, use_safetensors=None if allow_pickle else True, output_loading_info=True, **loading
        )
    except OSError as error:
        if allow_pickle or "safetensors" not in str(error):
            raise
        raise ConversionError(
            f"{source} has no weights in safetensors. Pickled weights can run any code when they are read: if you "
            "trust their author, allow them (--allow_pickle, allow_pickle=True)."
        ) from error
    check_whole(native, family, head, set(report["missing_keys"]), source)
    return native


# of `loading`: what says which files are meant
OF_HUB = ("revision", "token", "cache_dir", "subfolder", "local_files_only", "force_download", "proxies")


def check_whole(native: PreTrainedModel, family: Family, head: str, missing: set[str], source: str) -> None:
    """Raises ConversionError if weights of the base model are missing. A trunk that was saved without its pooler has
    none; a head that was not saved is a new one, as natively; a table that is computed need not be in a file."""
    if missing and all(name.startswith("pooler.") for name in missing):
        native.register_module("pooler", None)
        return
    # alone, a base model has no prefix
    prefix = "" if head in ("base", "encoder") else native.base_model_prefix + "."
    computed = {prefix + name for entry in family.trunk if not entry.ours for name in entry.native}
    trunk = {name for name in missing - computed if name.startswith(prefix) and "pooler." not in name}
    if trunk:
        raise ConversionError(f"{source} lacks weights of the base model: {', '.join(sorted(trunk)[:6])}.")


def named_head(config: PreTrainedConfig) -> str:
    """The head that a configuration says it was saved with."""
    wanted = (config.architectures or [None])[0]
    for head, auto in HEADS.items():
        found = auto._model_mapping.get(type(config), ())
        if wanted in [cls.__name__ for cls in (found if isinstance(found, tuple | list) else (found,))]:
            return head
    raise ConversionError(
        f"The checkpoint holds a {wanted}, which has no counterpart here; choose a head: {', '.join(HEADS)}."
    )
