"""The checkpoint that is checked, and how a check ends."""

import contextlib
import copy
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import constants
from torch import Tensor
from transformers.models.auto.configuration_auto import (
    CONFIG_MAPPING,
    CONFIG_MAPPING_NAMES,  # pyright: ignore[reportPrivateImportUsage]
)

from hf_tfm.usage import auto_class_of

__all__ = ["Broken", "Checkpoint", "NotApplicable", "close", "offline"]

ROWS, LENGTH = 4, 12
# of an encoder-decoder; its other heads read the source
TAKE_DECODER_INPUTS = ("AutoModel", "AutoModelForSeq2SeqLM")
SPECIAL_TOKENS = ("pad", "bos", "eos", "mask", "decoder_start")
# Largest difference of two outputs that should be equal, in float32, as a part of the largest output.
TOLERANCE = 3e-4


class Broken(Exception):
    """What is broken, and the remedy."""


class NotApplicable(Exception):
    """Why a check was not run."""


@dataclass
class Checkpoint:
    """A folder with a model, and what its config.json says. `trust_remote_code`: its own code may run."""

    folder: Path
    fields: dict[str, Any]
    trust_remote_code: bool = False
    loading_info: dict[str, Any] = field(default_factory=dict)

    @property
    def auto_map(self) -> dict[str, Any]:
        return self.fields.get("auto_map") or {}

    @property
    def auto_class(self) -> str:
        return auto_class_of(self.fields)

    @property
    def is_native(self) -> bool:
        return self.fields.get("model_type") in CONFIG_MAPPING_NAMES

    @property
    def needs_code(self) -> bool:
        """Whether nothing but its own code opens it as what it is."""
        return bool(self.auto_map) and (self.is_native or self.fields.get("model_type") not in CONFIG_MAPPING)

    @cached_property
    def model(self) -> Any:
        """In float32 and evaluation mode. Memory that nothing writes holds NaN."""
        with uninitialised_is_nan():
            model, self.loading_info = self.load(dtype=torch.float32, output_loading_info=True)
        return model.eval()

    def load(self, folder: Path | None = None, **options: Any) -> Any:
        """What the Auto class opens, without a connection."""
        auto = getattr(transformers, self.auto_class)
        with offline():
            return auto.from_pretrained(
                folder or self.folder,
                trust_remote_code=self.trust_remote_code,
                ignore_mismatched_sizes=True,
                **options,
            )

    def new_model(self) -> Any:
        """A model of the same class and configuration, made without a checkpoint."""
        with torch.random.fork_rng(devices=[]), offline():
            return type(self.model)(copy.deepcopy(self.model.config)).eval()

    # Inputs

    @cached_property
    def ids(self) -> Tensor:
        """Ordinary tokens, (ROWS, LENGTH)."""
        config = self.model.config.get_text_config()
        named = [getattr(config, f"{name}_token_id", None) for name in SPECIAL_TOKENS]
        specials = {token for item in named for token in (item if isinstance(item, list) else [item])}
        words = [token for token in range(config.vocab_size) if token not in specials]
        length = min(LENGTH, getattr(config, "max_position_embeddings", None) or LENGTH)
        drawn = torch.randint(len(words), (ROWS, length), generator=torch.Generator().manual_seed(0))
        return self.ended(torch.tensor(words)[drawn])

    def ended(self, ids: Tensor) -> Tensor:
        """Rows that end with the end-of-sequence token, where some heads pool; not those that a model continues."""
        eos = getattr(self.model.config.get_text_config(), "eos_token_id", None)
        if eos is None or self.model.can_generate():
            return ids
        last = torch.full_like(ids[:, :1], eos[0] if isinstance(eos, list) else eos)
        return torch.cat([ids[:, :-1], last], 1)

    @property
    def pad_token_id(self) -> int:
        found = getattr(self.model.config.get_text_config(), "pad_token_id", None)
        return 0 if found is None else found

    def batch(self, ids: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Inputs of a forward pass: two choices a row for a multiple choice head, and always the same ones of a
        decoder, where the model does not make them itself."""
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids) if mask is None else mask}
        if "MultipleChoice" in self.auto_class:
            inputs = {name: value[:, None].repeat(1, 2, 1) for name, value in inputs.items()}
            inputs["input_ids"][:, 1, 0] = ids[:, 1]
        takes = inspect.signature(self.model.forward).parameters
        if self.auto_class in TAKE_DECODER_INPUTS and "decoder_input_ids" in takes:
            inputs["decoder_input_ids"] = self.ids[: len(ids)].flip(-1)
        return inputs

    @torch.no_grad()
    def outputs(self, model: Any = None, **inputs: Any) -> Any:
        return (model or self.model).eval()(**inputs, return_dict=True)

    def main_output(self, model: Any = None, **inputs: Any) -> Tensor:
        """The first output that is a tensor: logits or hidden states."""
        return next(value for value in self.outputs(model, **inputs).values() if torch.is_tensor(value))


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """No request to the Hub."""
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextlib.contextmanager
def uninitialised_is_nan() -> Iterator[None]:
    """torch.empty holds NaN, in the place of whatever the memory held before."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def close(found: Tensor, expected: Tensor) -> float | None:
    """None if two outputs are equal up to rounding, else their largest difference as a part of the largest output."""
    scale = max(expected.abs().max().item(), 1e-6)
    gap = (found - expected).abs().max().item() / scale
    return None if gap <= TOLERANCE else gap
