"""Tiny native models with random weights, and batches for them."""

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from hf_tfm.conversion.auto_classes import model_class
from hf_tfm.conversion.registry import FAMILIES

VOCAB_SIZE = 97
LENGTHS = (13, 9, 5)
NUM_LABELS = {"question-answering": 2, "multiple-choice": 1}
SIZES = {
    "vocab_size": VOCAB_SIZE, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "intermediate_size": 72, "max_position_embeddings": 64,
}  # fmt: skip
GQA_SIZES = SIZES | {"num_key_value_heads": 2}
TOKEN_IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


@dataclass(frozen=True)
class Case:
    """A native configuration to convert.

    `fields`: its fields. `heads`: heads to check; None means all heads of the family. `position_ids`: whether the
    native model is given position_ids. `left_padding`, `packed`: whether batches with left padding, and rows of several
    documents, are compared. `sdpa`: whether the native class supports it. `generate`: whether generated text is
    compared. `use_cache`: whether the native class writes the same text with its cache as without, which is compared
    otherwise. `unread`: parameters that the native model never reads; they come back as copies of others. `token_ids`:
    its special tokens."""

    fields: dict[str, Any]
    heads: tuple[str, ...] | None = None
    position_ids: bool = True
    left_padding: bool = True
    packed: bool = True
    sdpa: bool = True
    generate: bool = True
    use_cache: bool = True
    unread: tuple[str, ...] = ()
    token_ids: dict[str, int] = field(default_factory=lambda: dict(TOKEN_IDS))


def case_parameters(cases: dict[str, list[Case]]) -> list[tuple[str, int, str]]:
    """(family, case number, head) of everything that the cases check."""
    unknown = [family for family in cases if family not in FAMILIES]
    assert not unknown, f"families with test cases, but in no module of hf_tfm/conversion/registry.py: {unknown}"
    return [
        (family, number, head)
        for family, family_cases in cases.items()
        for number, case in enumerate(family_cases)
        for head in (case.heads or FAMILIES[family].heads)
    ]


# Models


def tiny_native(family: str, case: Case, head: str) -> Any:
    """A native model with random weights and eager attention."""
    config = tiny_native_config(family, case, head)
    config._attn_implementation = "eager"
    return randomise(model_class(config, head)(config))


def tiny_native_config(family: str, case: Case, head: str) -> PreTrainedConfig:
    fields = copy.deepcopy(case.fields) | FAMILIES[family].native_head_fields.get(head, {})
    return CONFIG_MAPPING[family](**case.token_ids, **fields, num_labels=NUM_LABELS.get(head, 3))


@torch.no_grad()
def randomise(model: nn.Module, seed: int = 0) -> Any:
    """Fills every weight with random numbers, around the constant where a weight starts as a constant, so that each
    bias, norm and embedding has an effect. Tied weights stay tied; computed tables stay unchanged."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    trained_buffers = [buffer for name, buffer in model.named_buffers() if name.endswith("final_logits_bias")]
    for parameter in [*model.parameters(), *trained_buffers]:
        noise = torch.randn(parameter.shape, generator=generator)
        first = parameter.flatten()[:1]
        if id(parameter) in embeddings:
            if parameter.requires_grad:
                parameter.copy_(0.6 * noise)
        elif (parameter == first).all():
            parameter.copy_(first + 0.2 * noise)
        else:
            parameter.copy_(noise * parameter.shape[-1] ** -0.5)
    return model.eval()


# Batches


def random_tokens(config: Any, batch_size: int, length: int, seed: int) -> Tensor:
    """Token ids without special tokens."""
    special = [id for id in (getattr(config, name, None) for name in TOKEN_IDS) if isinstance(id, int)]
    first = max(special, default=0) + 1
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(first, smallest_vocab_size(config), (batch_size, length), generator=generator)


def smallest_vocab_size(config: Any) -> int:
    return min(VOCAB_SIZE, getattr(config, "decoder_vocab_size", None) or VOCAB_SIZE)


def padded_batch(config: Any, padding_side: str = "right", seed: int = 1) -> dict[str, Tensor]:
    """Three rows of 13, 9 and 5 tokens, each ending with the end-of-sequence token, and their mask."""
    ids = random_tokens(config, len(LENGTHS), max(LENGTHS), seed)
    index = torch.arange(max(LENGTHS))
    lengths = torch.tensor(LENGTHS)[:, None]
    if padding_side == "right":
        mask, last = index < lengths, lengths - 1
    else:
        mask, last = index >= max(LENGTHS) - lengths, torch.full_like(lengths, max(LENGTHS) - 1)
    ids = ids.scatter(1, last, config.eos_token_id if isinstance(config.eos_token_id, int) else 2)
    return {"input_ids": ids.where(mask, torch.tensor(config.pad_token_id)), "attention_mask": mask.long()}


def positions_from_mask(mask: Tensor) -> Tensor:
    return (mask.cumsum(-1) - 1).clamp(min=0)
