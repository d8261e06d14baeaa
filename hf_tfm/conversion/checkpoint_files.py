"""The files of a checkpoint, checked before anything is loaded from them: JSON and weights that are whole, weights that
are plain tensors, and nothing that can run code unless the user allows it."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers.utils.hub import cached_file, has_file

from ..errors import missing_folder_errors
from .errors import ConversionError

__all__ = [
    "TOKENIZER_JSON",
    "check_plain_weights",
    "check_tokenizer_files",
    "check_weight_files",
    "files_among",
    "find_file",
    "hub_options",
    "read_config",
    "read_json",
]

# keyword arguments that say which files are meant
HUB_OPTIONS = ("revision", "token", "cache_dir", "subfolder", "local_files_only", "force_download", "proxies")

TOKENIZER_JSON = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
)  # fmt: skip
INDEX = ".index.json"
SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
PICKLE_SUFFIXES = (".bin", ".pt", ".pth")
ALLOW_PICKLE = (
    "Loading pickled weights can run any code: if you trust the author, allow them with hf-tfm convert --allow_pickle "
    "(in Python: from_native(..., allow_pickle=True))."
)
# File that holds weights in another form -> what to do.
OTHER_WEIGHTS = {
    "tf_model.h5": "transformers 5 does not read TensorFlow: save it with transformers 4 (from_tf=True)",
    "flax_model.msgpack": "transformers 5 does not read Flax: save it with transformers 4 (from_flax=True)",
    "adapter_config.json": "an adapter has only a part of the weights: merge it (peft: merge_and_unload) and save it",
}
LFS_POINTER = b"version https://git-lfs"

# Endings of names, and the beginning of dtypes, that only quantised weights have.
QUANTISED_NAMES = (
    ".qweight", ".qzeros", ".g_idx", ".weight_packed", ".weight_scale", ".weight_scale_inv", ".absmax", ".SCB",
    ".quant_map",
)  # fmt: skip
REMEDY = (
    "Convert the checkpoint that it was made from, or load it with transformers, call dequantize() and save the result."
)
QUANTISED_DTYPES = ("F8", "F4", "I4", "torch.float8", "torch.float4")


def hub_options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the arguments of `from_pretrained` that say which files are meant."""
    return {name: arguments[name] for name in HUB_OPTIONS if name in arguments}


def find_file(source: str, name: str, **options: Any) -> str | None:
    """The path of a file of a checkpoint, downloaded if need be; None if there is none. Raises ValueError for a folder
    that does not exist, and a name that the Hub does not give."""
    with missing_folder_errors(source):
        return cached_file(source, name, _raise_exceptions_for_missing_entries=False, **options)


def files_among(source: str, names: tuple[str, ...], **options: Any) -> list[str]:
    """Those of the files that a checkpoint has. Downloads nothing."""
    subfolder = options.pop("subfolder", "")
    options.pop("force_download", None)
    return [name for name in names if has_file(source, str(PurePosixPath(subfolder, name)), **options)]


def read_json(source: str, name: str, **options: Any) -> dict[str, Any] | None:
    """The content of a JSON file of a checkpoint; None if it has no such file. Raises ConversionError if that is no
    JSON object."""
    path = find_file(source, name, **options)
    if path is None:
        return None
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConversionError(f"{path} is empty, cut short or no JSON ({error}); download or save it again.") from error
    if not isinstance(content, dict):
        raise ConversionError(f"{path} holds a JSON {type(content).__name__}, not an object with fields.")
    return content


def read_config(source: str, **options: Any) -> dict[str, Any]:
    """The fields of the config.json of a checkpoint. Raises ConversionError if there is none, or if it names no model
    type."""
    fields = read_json(source, "config.json", **options)
    if fields is None:
        with missing_folder_errors(source):
            # raises OSError if the Hub was not reached
            cached_file(source, "config.json", **options)
        is_adapter = files_among(source, ("adapter_config.json",), **options)
        advice = f", but adapter_config.json: {OTHER_WEIGHTS['adapter_config.json']}" if is_adapter else ""
        raise ConversionError(f"{source} has no config.json{advice}.")
    if not isinstance(fields.get("model_type"), str):
        raise ConversionError(
            f'{source}: config.json has no "model_type"; add that of its architecture, such as "model_type": "bert".'
        )
    return fields


def check_tokenizer_files(source: str) -> None:
    """Raises ConversionError for a file of a tokenizer that is empty, cut short or no JSON object."""
    for name in TOKENIZER_JSON:
        read_json(source, name)


def check_plain_weights(source: str, quantization_config: Any) -> None:
    """Raises ConversionError for the `quantization_config` of a configuration, if it has one."""
    if not quantization_config:
        return
    fields = quantization_config if isinstance(quantization_config, dict) else vars(quantization_config)
    method = fields.get("quant_method", "no quant_method")
    raise ConversionError(f"{source} is quantised (quantization_config: {getattr(method, 'value', method)}). {REMEDY}")


# Weights


def check_weight_files(
    source: str, allow_pickle: bool, explicit_name: str | None = None, variant: str | None = None, **options: Any
) -> None:
    """Raises ConversionError if the weights of a checkpoint are missing, cut short, quantised, outside of the
    checkpoint, or pickled without `allow_pickle`. `explicit_name`: the only file to read. `variant`: as in
    `from_pretrained`."""
    for path in weight_files(source, allow_pickle, explicit_name, variant, **options):
        tensors = dict(pickled_tensors(path) if path.endswith(PICKLE_SUFFIXES) else safetensors_dtypes(path))
        quantised = [
            name
            for name, dtype in tensors.items()
            if name.endswith(QUANTISED_NAMES) or dtype.startswith(QUANTISED_DTYPES)
        ]
        if quantised:
            name = quantised[0]
            raise ConversionError(f"{path} holds quantised weights, such as {name} ({tensors[name]}). {REMEDY}")
        if not tensors:
            raise ConversionError(f"{path} holds no tensors.")


def weight_files(
    source: str, allow_pickle: bool, explicit_name: str | None, variant: str | None, **options: Any
) -> list[str]:
    """The paths of the files with weights that transformers would read."""
    if explicit_name is not None:
        check_name(explicit_name, f"{source} (transformers_weights of config.json)", allow_pickle, allow_index=True)
    names = (explicit_name,) if explicit_name else SAFETENSORS + (PICKLES if allow_pickle else ())
    for name in names:
        if variant is not None:
            stem, dot, suffix = name.partition(".")
            name = f"{stem}{dot}{variant}.{suffix}"
        path = find_file(source, name, **options)
        if path is not None:
            return shards(source, name, path, allow_pickle, **options) if name.endswith(INDEX) else [path]
    raise ConversionError(f"{source} has no weights in {' or '.join(names)}{other_weights(source, **options)}")


def other_weights(source: str, **options: Any) -> str:
    """What weights a checkpoint has besides those that were looked for, and what to do."""
    if files_among(source, PICKLES, **options):
        return f", but pickled ones. {ALLOW_PICKLE}"
    found = files_among(source, tuple(OTHER_WEIGHTS), **options)
    if found:
        return f", but {found[0]}: {OTHER_WEIGHTS[found[0]]}."
    names = sorted(os.listdir(source)) if os.path.isdir(source) else []
    names = [name for name in names if not name.endswith((".py", ".json", ".md", ".txt"))]
    return f"; it holds {', '.join(names[:12])}." if names else "."


def shards(source: str, name: str, path: str, allow_pickle: bool, **options: Any) -> list[str]:
    """The paths of the files that an index names."""
    index = read_json(source, name, **options) or {}
    weight_map, metadata = index.get("weight_map"), index.get("metadata")
    if not isinstance(weight_map, dict) or not weight_map or not isinstance(metadata, dict):
        raise ConversionError(f'{path} is no index of weights: it needs a "weight_map" of names and files, "metadata".')
    for shard in weight_map.values():
        check_name(shard, path, allow_pickle)
    found = {shard: find_file(source, shard, **options) for shard in sorted(set(weight_map.values()))}
    missing = [shard for shard, file in found.items() if file is None]
    if missing:
        raise ConversionError(
            f"{path} names {len(found)} files with weights; {len(missing)} are missing: {', '.join(missing[:6])}. "
            "Download or copy them too."
        )
    return [file for file in found.values() if file is not None]


def check_name(name: Any, where: str, allow_pickle: bool, allow_index: bool = False) -> None:
    """Raises ConversionError unless `name`, which stands in a file of the checkpoint, is that of a file inside of it
    with safetensors."""
    if not isinstance(name, str) or "\\" in name or PurePosixPath(name).is_absolute() or ".." in name.split("/"):
        raise ConversionError(f"{where} names {name!r}; weights are read only from inside of the checkpoint.")
    if name.endswith(".safetensors") or (allow_index and name.endswith(f".safetensors{INDEX}")):
        return
    if not name.endswith(PICKLE_SUFFIXES):
        raise ConversionError(f"{where} names {name!r}, which is no safetensors file.")
    if not allow_pickle:
        raise ConversionError(f"{where} names {name!r}, which is pickled. {ALLOW_PICKLE}")


def safetensors_dtypes(path: str) -> Iterator[tuple[str, str]]:
    """The names and dtypes of the tensors in a file; only its header is read. Raises ConversionError if it is not
    whole."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise ConversionError(f"{path} is a pointer of Git LFS, not the weights; run `git lfs pull` there.")
    try:
        with safe_open(path, framework="pt") as file:
            # a handle of the library, not a dictionary
            yield from ((name, file.get_slice(name).get_dtype()) for name in file.keys())  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ConversionError(
            f"{path} ({size:,} bytes) is cut short, damaged or no safetensors file ({error}); download it again."
        ) from error


def pickled_tensors(path: str) -> Iterator[tuple[str, str]]:
    """The names and dtypes of the tensors in a pickled file. Raises ConversionError if it is not whole, or holds
    anything but tensors by name; no code is run."""
    try:
        content = torch.load(path, map_location="meta", weights_only=True)
    except UnpicklingError as error:
        raise ConversionError(
            f"{path} is damaged, or holds more than tensors, which would run code; save its tensors as safetensors."
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        size = os.path.getsize(path)
        raise ConversionError(
            f"{path} ({size:,} bytes) is empty, cut short or damaged; download or copy it again."
        ) from error
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ConversionError(f"{path} holds no tensors by name; save the state dict of the model alone.")
    yield from ((name, str(tensor.dtype)) for name, tensor in content.items())
