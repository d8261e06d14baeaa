"""One drawn configuration: its models, its inputs, and what a refusal has to say.

Legend: B batch, T tokens.
"""

import math
import re
from dataclasses import MISSING
from dataclasses import fields as dataclass_fields
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError

import hf_tfm
from tests.grid import LANGUAGE_MODELS, make

LENGTHS = (5, 8)  # tokens of the two rows
NEW_TOKENS = 4  # that are generated
LANGUAGE_HEADS = {model_class for _, model_class in LANGUAGE_MODELS.values()}


class NotApplicable(Exception):
    """A property has no meaning for the configuration; the message names the field."""


class Refused(Exception):
    """A configuration was refused by a message that names a field."""


class Case:
    def __init__(self, architecture: str, fields: dict[str, Any], is_legal: bool = True) -> None:
        """Raises Refused where the configuration or its language model is refused by a field's name.
        `is_legal`: no field has an odd value."""
        self.architecture, self.fields, self.is_legal = architecture, fields, is_legal
        self.is_seq2seq = architecture == "seq2seq"
        try:
            self.config = LANGUAGE_MODELS[architecture][0](**fields)
            self.model()
        except (ValueError, StrictDataclassError) as error:
            check_names_field(error, {*fields, *derived_fields(architecture)})
            raise Refused(str(error)) from error
        longest = LENGTHS[1]
        if self.config.position_type == "learned":
            longest = min(longest, self.config.max_position_embeddings)
        shortest = max(1, longest - LENGTHS[1] + LENGTHS[0])
        self.generator = torch.Generator().manual_seed(0)
        self.rows = [self.draw(self.config.vocab_size, length) for length in (shortest, longest)]
        self.tokens = torch.cat((self.draw(self.config.vocab_size, longest), self.rows[1]))
        if self.is_seq2seq:
            self.target = torch.cat([self.draw(self.config.decoder_vocab_size, min(6, longest)) for _ in range(2)])

    def draw(self, vocab_size: int, length: int) -> torch.Tensor:
        """Random ids (1, T), where possible none of those that `strategies` gives to special tokens."""
        return torch.randint(min(8, vocab_size - 1), vocab_size, (1, length), generator=self.generator)

    # models

    def model(self, head: Any = None) -> Any:
        """A model in eval mode with large random weights, the same for each call."""
        return make(self.architecture, head, **self.fields)

    def double_model(self, head: Any = None, **changes: Any) -> Any:
        """The same in float64, with fields of the configuration changed that are read live."""
        model = self.model(head).double()
        for name, value in changes.items():
            setattr(model.config, name, value)
        if self.config.mlp_type == "moe":
            # torch's grouped products know no float64
            model.set_experts_implementation("eager")
        return model

    def task_heads(self) -> list[Any]:
        """The classes of the architecture's heads that are no language models."""
        heads = [
            getattr(hf_tfm, name) for name in hf_tfm.__all__ if name.lower().startswith(f"tfm{self.architecture}for")
        ]
        return [head for head in heads if head not in LANGUAGE_HEADS]

    # inputs

    @property
    def pad_id(self) -> int:
        given = self.config.pad_token_id
        return given if given is not None and 0 <= given < self.config.vocab_size else 0

    def pad(self, side: str, rows: list[torch.Tensor] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of different lengths as one batch (B, T), and its mask."""
        rows = self.rows if rows is None else rows
        longest = max(row.shape[1] for row in rows)
        tokens = torch.full((len(rows), longest), self.pad_id)
        mask = torch.zeros_like(tokens)
        for i, row in enumerate(rows):
            place = slice(longest - row.shape[1], None) if side == "left" else slice(0, row.shape[1])
            tokens[i, place], mask[i, place] = row[0], 1
        return tokens, mask

    def rows_with_eos(self) -> list[torch.Tensor]:
        """The rows, each ended by the end-of-sequence token if there is one."""
        eos = self.config.eos_token_id[0] if isinstance(self.config.eos_token_id, list) else self.config.eos_token_id
        if eos is None or not 0 <= eos < self.config.vocab_size:
            return self.rows
        return [torch.cat((row[:, :-1], torch.tensor([[eos]])), 1) for row in self.rows]

    def batch(self) -> dict[str, torch.Tensor]:
        """Whole rows with labels."""
        labels = self.target if self.is_seq2seq else self.tokens
        return {"input_ids": self.tokens.clone(), "labels": labels.clone()}

    def padded_batch(self) -> dict[str, torch.Tensor]:
        """Right-padded rows with labels, -100 where nothing is scored."""
        tokens, mask = self.pad("right")
        labels = tokens.masked_fill(mask == 0, -100)
        if self.is_seq2seq:
            labels = self.target.clone()
            labels[0, -2:] = -100
        return {"input_ids": tokens, "attention_mask": mask, "labels": labels}

    def logits(self, model: Any, tokens: torch.Tensor | None = None, target: Any = None, **inputs: Any) -> torch.Tensor:
        """Logits of a language model for `tokens`, of an encoder-decoder for the same target in every row."""
        tokens = self.tokens if tokens is None else tokens
        if self.is_seq2seq:
            inputs["decoder_input_ids"] = self.target[:1].expand(tokens.shape[0], -1) if target is None else target
        with torch.no_grad():
            return model(input_ids=tokens, return_dict=True, **inputs).logits

    def generate(self, model: Any, tokens: torch.Tensor, **options: Any) -> list[list[int]]:
        """The new tokens of each row, greedily chosen. Raises NotApplicable where they are too many for the model."""
        length = NEW_TOKENS + (1 if self.is_seq2seq else tokens.shape[1])
        if self.config.position_type == "learned" and length > self.config.max_position_embeddings:
            raise NotApplicable("max_position_embeddings: no room for new tokens")
        model.generation_config.eos_token_id, model.generation_config.pad_token_id = None, self.pad_id
        new = model.generate(
            tokens, max_new_tokens=NEW_TOKENS, do_sample=False, return_dict_in_generate=False, **options
        )
        return new[:, -NEW_TOKENS:].tolist()

    # what is expected

    def has_fixed_frequencies(self) -> bool:
        """Whether rotary frequencies are the same for all batches of our lengths. Else those of the longest row are
        used for the whole batch."""
        given = getattr(self.config, "rope_parameters", {})
        for parameters in (given, *(part for part in given.values() if isinstance(part, dict))):
            thresholds = {
                "dynamic": self.config.max_position_embeddings,
                "longrope": parameters.get("original_max_position_embeddings"),
            }
            threshold = thresholds.get(parameters.get("rope_type", ""))
            if threshold is not None and threshold < LENGTHS[1] + NEW_TOKENS:
                return False
        return True

    def require_fixed_frequencies(self) -> None:
        """Raises NotApplicable where a row beside a longer one has the frequencies of that."""
        if not self.has_fixed_frequencies():
            raise NotApplicable("rope_parameters: all tokens of a batch have the frequencies of its longest row")

    def may_have_no_gradient(self, name: str) -> bool:
        """Whether the gradient of a parameter of a legal model may be zero."""
        config = self.config
        # the softmax ignores what is added to all scores of a query
        if name.endswith("k_proj.bias"):
            return True
        kinds = [*config.layer_types, *(getattr(config, "decoder_layer_types", None) or ())]
        if config.sliding_window == 1 and "sliding_attention" in kinds and not config.attention_sinks:
            # the one key in the window has weight 1, whatever the score
            return any(part in name for part in ("q_proj", "k_proj", "q_norm", "k_norm", "relative_attention_bias"))
        if name.endswith("mlp.gate.weight"):
            # the weight of one chosen expert, divided by itself, is 1
            return config.norm_topk_prob and config.num_experts_per_tok == 1 and not config.router_aux_loss_coef
        return False


def derived_fields(architecture: str) -> list[str]:
    """Fields that are derived from others where they are None: a refusal of the others may name them."""
    declared = dataclass_fields(LANGUAGE_MODELS[architecture][0])
    defaults = {item.name: item.default if item.default is not MISSING else item.default_factory() for item in declared}
    return [name for name, default in defaults.items() if default is None]


def check_names_field(error: Exception, names: Any) -> None:
    """AssertionError unless the message of a refusal has one of these fields in it."""
    words = set(re.findall(r"\w+", str(error)))
    assert words & set(names), f"the refusal names no field: {type(error).__name__}: {error}"


def code_of(architecture: str, fields: dict[str, Any], module: str, function: str, *more: Any) -> str:
    """Code that repeats `function(architecture, fields, *more)`."""
    lines = "".join(f"    {name}={literal(value)},\n" for name, value in fields.items())
    arguments = ", ".join([repr(architecture), "fields", *map(repr, more)])
    return f"from {module} import {function}\nfields = dict(\n{lines})\n{function}({arguments})"


def literal(value: Any) -> str:
    """The value as Python reads it."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key)}: {literal(part)}" for key, part in value.items()) + "}"
    return repr(value)
