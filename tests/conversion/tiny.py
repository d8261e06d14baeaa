"""Tiny native models with random weights, and batches for them."""

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from hf_tfm.conversion.families import FAMILIES
from hf_tfm.conversion.family import model_class

VOCABULARY = 97
LENGTHS = (13, 9, 5)
LABELS = {"question-answering": 2, "multiple-choice": 1}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


@dataclass(frozen=True)
class Case:
    """A native configuration to convert.

    `fields`: its fields. `heads`: those that are checked; None: all of the family. `positions`: whether the native
    model is given position_ids. `left`: whether left padding is compared. `packed`: whether rows of several documents
    are. `sdpa`: whether the native class has it. `text`: whether generated text is compared. `dead`: parameters that
    the native model never reads, which come back as copies of others."""

    fields: dict[str, Any]
    heads: tuple[str, ...] | None = None
    positions: bool = True
    left: bool = True
    packed: bool = True
    sdpa: bool = True
    text: bool = True
    dead: tuple[str, ...] = ()
    ids: dict[str, int] = field(default_factory=lambda: dict(IDS))


def native_config(family: str, case: Case, head: str) -> PreTrainedConfig:
    fields = copy.deepcopy(case.fields) | FAMILIES[family].head_fields.get(head, {})
    return CONFIG_MAPPING[family](**case.ids, **fields, num_labels=LABELS.get(head, 3))


@torch.no_grad()
def randomise(model: nn.Module, seed: int = 0) -> Any:
    """Random numbers in every weight, around the constants where weights start as constants, so that no bias, norm or
    table is without effect. Tied weights stay tied; computed tables stay as they are."""
    generator = torch.Generator().manual_seed(seed)
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    loose = [buffer for name, buffer in model.named_buffers() if name.endswith("final_logits_bias")]
    for parameter in [*model.parameters(), *loose]:
        noise = torch.randn(parameter.shape, generator=generator)
        first = parameter.flatten()[:1]
        if id(parameter) in tables:
            if parameter.requires_grad:
                parameter.copy_(0.6 * noise)
        elif (parameter == first).all():
            parameter.copy_(first + 0.2 * noise)
        else:
            parameter.copy_(noise * parameter.shape[-1] ** -0.5)
    return model.eval()


def tiny_native(family: str, case: Case, head: str) -> Any:
    config = native_config(family, case, head)
    config._attn_implementation = "eager"
    return randomise(model_class(config, head)(config))


def words(config: Any, rows: int, length: int, seed: int) -> Tensor:
    """Ordinary words: no special id among them."""
    special = [n for n in (getattr(config, name, None) for name in IDS) if isinstance(n, int)]
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(max(special, default=0) + 1, smallest_vocabulary(config), (rows, length), generator=generator)


def smallest_vocabulary(config: Any) -> int:
    return min(VOCABULARY, getattr(config, "decoder_vocab_size", None) or VOCABULARY)


def padded(config: Any, side: str = "right", seed: int = 1) -> dict[str, Tensor]:
    """Three rows of 13, 9 and 5 tokens, each ending with the end-of-sequence token, and their mask."""
    ids = words(config, len(LENGTHS), max(LENGTHS), seed)
    index = torch.arange(max(LENGTHS))
    lengths = torch.tensor(LENGTHS)[:, None]
    mask = index < lengths if side == "right" else index >= max(LENGTHS) - lengths
    last = lengths - 1 if side == "right" else torch.full_like(lengths, max(LENGTHS) - 1)
    ids = ids.scatter(1, last, config.eos_token_id if isinstance(config.eos_token_id, int) else 2)
    return {"input_ids": ids.where(mask, torch.tensor(config.pad_token_id)), "attention_mask": mask.long()}


def positions(mask: Tensor) -> Tensor:
    return (mask.cumsum(-1) - 1).clamp(min=0)


def cases_of(table: dict[str, list[Case]]) -> list[tuple[str, int, str]]:
    """(family, number of the case, head) of everything that a table of cases asks for."""
    return [
        (family, number, head)
        for family, cases in table.items()
        for number, case in enumerate(cases)
        for head in (case.heads or tuple(FAMILIES[family].heads))
    ]
