"""Options that say how the model is built, or from which checkpoint it is loaded."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from hf_tfm.modeling.recipes import RECIPES

from .task_defaults import default_config_fields, default_help

__all__ = ["ModelArguments"]

RECIPE_NAMES = "; ".join(
    f"{kind.removeprefix('tfm_')}: {', '.join(name for name, (kinds, _) in RECIPES.items() if kind in kinds)}"
    for kind in ("tfm_encoder", "tfm_decoder", "tfm_seq2seq")
)


@dataclass
class ModelArguments:
    """How the model is built, or where it comes from. Sizes count elements."""

    _argument_group_name = "model"

    init_from: str | None = field(
        default=None, metadata={"help": "A checkpoint to go on from: folder or Hub name. Its sizes and tokenizer hold."}
    )
    config_file: str | None = field(
        default=None, metadata={"help": "A config.json, or a folder with one, to build a model with random weights."}
    )
    architecture: Literal["encoder", "decoder", "seq2seq"] | None = field(
        default=None, metadata={"help": "Kind of Transformer; unset: the recipe's, else the task's usual one."}
    )
    recipe: str | None = field(
        default=None,
        metadata={"help": f"Family whose wiring is used ({RECIPE_NAMES}); unset: pre-norm, RMS norm, rotary, gated."},
    )
    hidden_size: int | None = field(
        default=None, metadata={"help": f"Width of the residual stream, elements; {default_help('hidden_size')}."}
    )
    num_hidden_layers: int | None = field(
        default=None, metadata={"help": f"Number of blocks (of each side); {default_help('num_hidden_layers')}."}
    )
    num_attention_heads: int | None = field(
        default=None,
        metadata={"help": f"Query heads, which must divide hidden_size; {default_help('num_attention_heads')}."},
    )
    num_key_value_heads: int | None = field(
        default=None, metadata={"help": "Key and value heads; unset: as many as query heads."}
    )
    intermediate_size: int | None = field(
        default=None,
        metadata={"help": "Width of the feed-forward, elements; unset: 8/3 (gated) or 4 (plain) of hidden_size."},
    )
    max_position_embeddings: int | None = field(
        default=None, metadata={"help": "Longest sequence, tokens; unset: the longest row of this run."}
    )
    tie_word_embeddings: bool | None = field(
        default=None,
        metadata={"help": f"Use one table for reading and predicting; {default_help('tie_word_embeddings')}."},
    )
    hidden_dropout: float | None = field(
        default=None, metadata={"help": "Probability of dropping an element of a branch, 0 to 1; unset: the recipe's."}
    )
    depth_scaling: Literal["none", "scaled", "deepnorm"] | None = field(
        default=None,
        metadata={"help": "Initial size of branches: none, scaled (outputs by 1/sqrt(2 blocks)), deepnorm; "
                  f"{default_help('depth_scaling')}."},
    )  # fmt: skip
    config_overrides: str | None = field(
        default=None,
        metadata={"help": 'Any other field of the configuration, as JSON: \'{"residual_type": "sandwich"}\'.'},
    )
    peft: Literal["lora"] | None = field(
        default=None, metadata={"help": "Train a small adapter and leave the weights as they are (needs peft)."}
    )
    lora_r: int = field(default=8, metadata={"help": "Rank of the adapter's matrices."})
    lora_alpha: float = field(
        default=16.0, metadata={"help": "The adapter's output is multiplied by this over lora_r."}
    )
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout on the adapter's input, 0 to 1."})
    merge_adapter: bool = field(
        default=False, metadata={"help": "Save the whole model with the adapter added in, instead of the adapter."}
    )

    SOURCE_FIELDS = ("init_from", "config_file", "architecture", "recipe", "config_overrides")
    ADAPTER_FIELDS = ("peft", "lora_r", "lora_alpha", "lora_dropout", "merge_adapter")

    def __post_init__(self) -> None:
        if self.init_from and self.config_file:
            raise ValueError("--init_from and --config_file are two sources of one model; give one of them.")
        given = ", ".join(f"--{name}" for name in [*self.given_fields(), "recipe"] if getattr(self, name) is not None)
        source = "--init_from" if self.init_from else "--config_file" if self.config_file else ""
        if source and given:
            raise ValueError(f"{source} brings its own sizes and wiring; leave out {given}.")
        if self.peft and not self.init_from:
            raise ValueError("--peft trains an adapter on top of learnt weights: name the checkpoint with --init_from.")
        if self.peft is None and self.merge_adapter:
            raise ValueError("--merge_adapter merges an adapter, and none is trained; add --peft lora.")
        self.overrides = parse_overrides(self.config_overrides) if self.config_overrides else {}

    def given_fields(self) -> dict[str, Any]:
        """Fields of the configuration that were given by name."""
        names = [
            item.name
            for item in dataclasses.fields(self)
            if item.name not in (*self.SOURCE_FIELDS, *self.ADAPTER_FIELDS)
        ]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def config_fields(self, task: str) -> dict[str, Any]:
        """For a new configuration: `recipe` and fields. The task's usual ones, what was given, `config_overrides`."""
        return default_config_fields(task, self.recipe) | self.given_fields() | self.overrides


def parse_overrides(text: str) -> dict[str, Any]:
    """A JSON object as a dictionary. Raises ValueError, with the expected form, for anything else."""
    try:
        overrides = json.loads(text)
    except json.JSONDecodeError as error:
        overrides = error
    if not isinstance(overrides, dict):
        raise ValueError(
            f"--config_overrides must be a JSON object of configuration fields, got {text!r}. "
            'Example: --config_overrides \'{"residual_type": "sandwich", "qk_norm": "head"}\''
        )
    return overrides
