"""Checks of what is loaded: weights, ties, dtypes, buffers, and what is saved again."""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from .checkpoint import Broken, Checkpoint, NotApplicable
from .file_checks import check_code

__all__ = [
    "check_buffers",
    "check_dtype",
    "check_load",
    "check_loaded_values",
    "check_save",
    "check_ties",
    "check_weights",
]


def check_load(checkpoint: Checkpoint) -> str:
    """It opens, without a connection."""
    model = checkpoint.model
    return f"{type(model).__name__} by {checkpoint.auto_class}, {model.num_parameters():,} parameters"


def check_weights(checkpoint: Checkpoint) -> str:
    """No weight is missing, left out, or of another shape."""
    count, info = len(checkpoint.model.state_dict()), checkpoint.loading_info
    problems = {
        "missing_keys": "are not in the files, and are random",
        "mismatched_keys": "have another shape in the files, and are random",
        "unexpected_keys": "of the files belong to no module, and are left out",
        "error_msgs": "errors",
    }
    for kind, problem in problems.items():
        names = sorted(str(item[0] if isinstance(item, tuple) else item) for item in info.get(kind) or ())
        if names:
            raise Broken(
                f"{len(names)} of {count} weights {problem}, such as {names[0]}; save the model again with the class "
                "that opens it, or correct the names in its code."
            )
    return f"{count} of {count}"


def check_loaded_values(checkpoint: Checkpoint) -> str:
    """Each weight is that of the files, bit for bit."""
    loaded, compared = checkpoint.model.state_dict(), 0
    for name, stored in stored_tensors(checkpoint.folder):
        found = loaded.get(name, loaded.get(other_name(name, checkpoint.model)))
        if found is None or found.shape != stored.shape:
            continue
        compared += 1
        if not torch.equal(found, stored.to(found.dtype)):
            raise Broken(
                f"{name} is not what the files hold: its _init_weights writes over loaded weights; use the functions "
                "of transformers.initialization there, which leave loaded weights alone."
            )
    if not compared:
        raise NotApplicable("no name of the files is one of the model")
    return f"{compared} of {len(loaded)} compared"


def check_ties(checkpoint: Checkpoint) -> str:
    """Input and output embeddings share their weight exactly if the configuration says so."""
    model = checkpoint.model
    try:
        given, output = model.get_input_embeddings(), model.get_output_embeddings()
    except NotImplementedError:
        given = output = None
    if given is None or output is None:
        raise NotApplicable("no output embeddings")
    wanted = bool(getattr(model.config.get_text_config(), "tie_word_embeddings", False))
    tied = given.weight.data_ptr() == output.weight.data_ptr()
    if wanted and not tied:
        raise Broken(
            "tie_word_embeddings is true, but input and output embeddings are two weights; give the class "
            '_tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"} with its own names.'
        )
    if tied and not wanted:
        raise Broken(
            "the embeddings share one weight, but tie_word_embeddings is false; set it to true in config.json."
        )
    return "tied" if tied else "separate"


def check_dtype(checkpoint: Checkpoint) -> str:
    """The dtype that is asked for is the one that is loaded, and the model computes in bfloat16."""
    stored = {str(tensor.dtype) for _, tensor in stored_tensors(checkpoint.folder) if tensor.is_floating_point()}
    named = checkpoint.fields.get("dtype") or checkpoint.fields.get("torch_dtype")
    if named and stored and f"torch.{named}" not in stored:
        raise Broken(f"config.json says {named}, but the files hold {', '.join(sorted(stored))}; correct dtype there.")
    for dtype in (torch.float32, torch.bfloat16):
        model = checkpoint.model if dtype == torch.float32 else checkpoint.load(dtype=dtype)
        kept = exempt_modules(model)
        for name, weight in model.named_parameters():
            if weight.is_floating_point() and weight.dtype != dtype and not any(part in name for part in kept):
                raise Broken(f"{name} is {weight.dtype} after dtype={dtype}; take the dtype out of the code.")
    try:
        output = checkpoint.main_output(model, **checkpoint.batch(checkpoint.ids))
    except RuntimeError as error:
        raise Broken(
            f"it does not compute in bfloat16 ({first_line(error)}); make tensors in the dtype of the hidden states."
        ) from error
    if not output.isfinite().all():
        raise Broken("outputs in bfloat16 are not finite; compute norms and softmax in float32.")
    return f"{named or 'no dtype in config.json'}; computes in bfloat16"


def exempt_modules(model: Any) -> list[str]:
    """Parts of names that a class keeps in float32 in every dtype."""
    lists = (getattr(model, name, None) for name in ("_keep_in_fp32_modules", "_keep_in_fp32_modules_strict"))
    return [part for found in lists for part in found or ()]


def check_buffers(checkpoint: Checkpoint) -> str:
    """Buffers that no file holds are, after loading on the meta device, those of a new model."""
    saved = checkpoint.model.state_dict()
    new = dict(checkpoint.new_model().named_buffers())
    found = {name: buffer for name, buffer in checkpoint.model.named_buffers() if name not in saved}
    if not found:
        raise NotApplicable("no buffers beside the weights")
    for name, buffer in found.items():
        if name not in new or not torch.allclose(buffer.float(), new[name].float(), equal_nan=True):
            raise Broken(
                f"the buffer {name} is not computed again after loading on the meta device, and holds garbage; set it "
                "in _init_weights too, or compute it in forward."
            )
    return f"{len(found)} equal"


def check_save(checkpoint: Checkpoint) -> str:
    """Saved, loaded and saved again it is the same, and keeps its code."""
    with TemporaryDirectory() as folder:
        places = [Path(folder, "first"), Path(folder, "second")]
        checkpoint.model.save_pretrained(places[0])
        first = Checkpoint(places[0], json.loads((places[0] / "config.json").read_text()), checkpoint.trust_remote_code)
        if checkpoint.needs_code:
            try:
                check_code(first)
            except NotApplicable as error:
                raise Broken("save_pretrained drops auto_map; call register_for_auto_class on the classes.") from error
        first.model.save_pretrained(places[1])
        compare_saved(*places)
    return "equal"


def compare_saved(first: Path, second: Path) -> None:
    """Raises Broken if two folders differ in their fields or weights."""
    fields = [json.loads((place / "config.json").read_text()) for place in (first, second)]
    changed = [name for name in {*fields[0], *fields[1]} if fields[0].get(name) != fields[1].get(name)]
    if changed:
        name = sorted(changed)[0]
        raise Broken(
            f"{name} changes from {fields[0].get(name)} to {fields[1].get(name)} when it is saved again; let the "
            "configuration store what it was given."
        )
    tensors: Any = [dict(stored_tensors(place)) for place in (first, second)]
    different = [name for name in {*tensors[0], *tensors[1]} if not same(tensors[0].get(name), tensors[1].get(name))]
    if different:
        raise Broken(f"{sorted(different)[0]} changes when it is saved again; save and load the same state dict.")


def same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and torch.equal(one, other)


def stored_tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """The names and tensors of all files with weights."""
    for path in sorted(folder.glob("*.safetensors")):
        yield from load_file(path).items()
    for path in [] if [*folder.glob("*.safetensors")] else sorted(folder.glob("pytorch_model*.bin")):
        yield from torch.load(path, weights_only=True).items()


def other_name(name: str, model: Any) -> str:
    """The name with, or without, the prefix of the base model."""
    prefix = f"{model.base_model_prefix}."
    return name.removeprefix(prefix) if name.startswith(prefix) else prefix + name


def first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
