"""Compares the outputs of a model before and after conversion on one small batch."""

import copy
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .errors import ConversionError

__all__ = ["Float32Mode", "ParityCheck", "make_test_batch", "stored_dtype"]

LENGTH = 24
OUTPUTS = (
    "logits", "start_logits", "end_logits", "last_hidden_state", "pooler_output", "encoder_last_hidden_state",
)  # fmt: skip
HALF_DTYPES = (torch.float16, torch.bfloat16)

# Largest difference relative to the largest output. Sums in another order stay below it, another model does not.
TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}


def make_test_batch(model: Any, head: str) -> dict[str, Tensor]:
    """One row of random tokens without special ones, and the end-of-sequence token. No second row and no padding:
    native classifiers need a padding id for the one, and some native models ignore the other."""
    config, generator = model.config, torch.Generator().manual_seed(0)
    # half: some native tables have rows before the first position
    max_length = (getattr(config, "max_position_embeddings", None) or 2 * LENGTH) // 2
    shape = (1, max(1, min(LENGTH, max_length)))
    eos = config.eos_token_id[0] if isinstance(config.eos_token_id, list) else config.eos_token_id
    # the configuration of T5Gemma has a vocabulary of its own, which nothing reads
    vocab_size = min(config.vocab_size, len(model.get_input_embeddings().weight))
    ids = random_ids(vocab_size, {eos, config.pad_token_id}, shape, generator)
    # an end of sequence that is also padding (GPT-2) is read as padding by native classifiers, whatever the mask says
    if eos is not None and eos != config.pad_token_id and 0 <= eos < vocab_size:
        ids[:, -1] = eos
    if head == "multiple-choice":
        ids = ids[None]
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if config.is_encoder_decoder and head in ("base", "seq2seq-lm"):
        decoder_vocab_size = getattr(config, "decoder_vocab_size", None) or vocab_size
        batch["decoder_input_ids"] = random_ids(decoder_vocab_size, {eos, config.pad_token_id}, shape, generator)
    return batch


def random_ids(vocab_size: int, excluded: set[Any], shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    allowed = torch.tensor([id for id in range(vocab_size) if id not in excluded] or [0])
    return allowed[torch.randint(len(allowed), shape, generator=generator)]


class Float32Mode(TorchFunctionMode):
    """Computes in float32 what a model would compute in half precision. Its weights stay as they are."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") == "__get__":
            # a property, such as the shape: no reason to copy the tensor
            result = func(*args)
            return in_float32(result) if isinstance(result, torch.dtype) else result
        if func in (Tensor.half, Tensor.bfloat16):
            func = Tensor.float
        return func(*in_float32(args), **in_float32(kwargs or {}))


def in_float32(value: Any) -> Any:
    """`value` with tensors of half precision, and the names of these dtypes, in float32."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in HALF_DTYPES else value
    if isinstance(value, torch.dtype):
        return torch.float32 if value in HALF_DTYPES else value
    if type(value) in (tuple, list):
        return type(value)(in_float32(item) for item in value)
    return {name: in_float32(item) for name, item in value.items()} if type(value) is dict else value


def stored_dtype(tensor: Tensor) -> torch.dtype:
    """The lowest precision that holds every element of `tensor` exactly."""
    for dtype in HALF_DTYPES[::-1]:
        if torch.equal(tensor.to(dtype).to(tensor.dtype), tensor):
            return dtype
    return tensor.dtype


@contextmanager
def without_traces(model: Any) -> Iterator[None]:
    """Evaluation mode without gradients. Afterwards every module has its mode again, and random numbers go on as if
    nothing had been drawn."""
    modes = [(module, module.training) for module in model.modules()]
    device = model.device
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def computed_tables_in_float32(model: Any) -> Iterator[None]:
    """Computes tables (rotary frequencies, sinusoids) anew that a cast of the whole model has rounded, as the loader of
    transformers does for every checkpoint; rounded, they differ by more than a wrong conversion might."""
    rounded = [
        (module, name, table)
        for module in model.modules()
        for name, table in module._buffers.items()
        if name in module._non_persistent_buffers_set and table is not None and table.dtype in HALF_DTYPES
    ]
    for module in {id(module): module for module, _, _ in rounded}.values():
        exact = copy.deepcopy(module).float()
        model._init_weights(exact)
        module._buffers.update({name: exact._buffers[name] for part, name, _ in rounded if part is module})
    try:
        yield
    finally:
        for module, name, table in rounded:
            module._buffers[name] = table


class ParityCheck:
    """The outputs of a model for one small batch, to be compared with those after its conversion.

    Half-precision models are computed in float32 on both sides: the weights are the same, and two results in half
    precision differ by more than a wrong conversion might. Flash attention knows half precision only, so that models
    which use it are compared in their own dtype."""

    def __init__(self, model: Any, head: str) -> None:
        self.in_float32 = model.dtype in HALF_DTYPES and "flash" not in (model.config._attn_implementation or "")
        self.batch = make_test_batch(model, head)
        self.dtype = torch.float32 if self.in_float32 else model.dtype
        self.outputs = self.outputs_of(model)
        not_finite = [name for name, output in self.outputs.items() if not output.isfinite().all()]
        if not_finite:
            raise ConversionError(
                f"{not_finite[0]} of the {model.config.model_type} on a test batch is NaN or infinite before its "
                "conversion: weights are damaged, or too large (verify=False converts it nevertheless)."
            )

    def outputs_of(self, model: Any) -> dict[str, Tensor]:
        batch = {name: tensor.to(model.device) for name, tensor in self.batch.items()}
        with without_traces(model):
            if self.in_float32:
                with computed_tables_in_float32(model), Float32Mode():
                    outputs = model(**batch)
            else:
                outputs = model(**batch)
        return {name: outputs[name].float().cpu() for name in OUTPUTS if outputs.get(name) is not None}

    def compare(self, converted: Any, rounded_to: Collection[torch.dtype] = ()) -> float:
        """The largest difference, relative to the largest output. Raises ConversionError if that is not just rounding.
        `rounded_to`: dtypes in which one side stores what the other computes."""
        outputs = self.outputs_of(converted)
        if outputs.keys() != self.outputs.keys():
            raise ConversionError(
                f"The outputs before conversion are {', '.join(self.outputs)}; after it, {', '.join(outputs)}."
            )
        difference = max(relative_difference(before, outputs[name]) for name, before in self.outputs.items())
        tolerance = max(TOLERANCES[dtype] for dtype in (self.dtype, *rounded_to))
        if not difference <= tolerance:
            raise ConversionError(
                f"The outputs before and after conversion differ by {difference:.1e} of the largest output; at most "
                f"{tolerance:.0e} is rounding. Please report this checkpoint (verify=False converts it nevertheless)."
            )
        return difference


def relative_difference(before: Tensor, after: Tensor) -> float:
    if before.shape != after.shape:
        return float("inf")
    return ((before - after).abs().max() / before.abs().max().clamp(min=1e-30)).item()
