"""Options for the model: how a new one is built, or which checkpoint is loaded."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from hf_tfm.modeling.recipes import RECIPES

__all__ = ["DEFAULT_CONFIG_FIELDS", "ModelArguments"]

# Fields of a new model's configuration unless a task has other defaults (Objective.default_config_fields); measured on
# the built-in data on two CPU cores.
DEFAULT_CONFIG_FIELDS: dict[str, Any] = {
    "hidden_size": 192, "num_hidden_layers": 4, "num_attention_heads": 6, "tie_word_embeddings": True,
    "depth_scaling": "scaled",
}  # fmt: skip
RECIPE_NAMES = "; ".join(
    f"{kind.removeprefix('tfm_')}: {', '.join(name for name, (kinds, _) in RECIPES.items() if kind in kinds)}"
    for kind in ("tfm_encoder", "tfm_decoder", "tfm_seq2seq")
)


def unset_help(name: str) -> str:
    """Part of a help text: the value of a field that is not given."""
    return f"unset: {DEFAULT_CONFIG_FIELDS[name]}, or the task's default (see the end)"


@dataclass
class ModelArguments:
    """How a new model is built, or which checkpoint is loaded."""

    _argument_group_name = "model"

    init_from: str | None = field(
        default=None,
        metadata={"help": "Checkpoint to continue from: folder or Hub name. Its sizes and tokenizer are kept."},
    )
    config_file: str | None = field(
        default=None, metadata={"help": "config.json, or a folder with one, of a new model with random weights."}
    )
    architecture: Literal["encoder", "decoder", "seq2seq"] | None = field(
        default=None,
        metadata={"help": "Architecture; unset: that of the recipe, else the first that the task supports."},
    )
    recipe: str | None = field(
        default=None,
        metadata={
            "help": f"Model family to follow ({RECIPE_NAMES}); unset: pre-norm, RMS norm, rotary positions, gated "
            "feed-forward, or the task's default (see the end)."
        },
    )
    hidden_size: int | None = field(
        default=None, metadata={"help": f"Width of the residual stream; {unset_help('hidden_size')}."}
    )
    num_hidden_layers: int | None = field(
        default=None, metadata={"help": f"Layers (of encoder and of decoder); {unset_help('num_hidden_layers')}."}
    )
    num_attention_heads: int | None = field(
        default=None,
        metadata={"help": f"Query heads; must divide --hidden_size; {unset_help('num_attention_heads')}."},
    )
    num_key_value_heads: int | None = field(
        default=None, metadata={"help": "Key and value heads; unset: the number of query heads."}
    )
    intermediate_size: int | None = field(
        default=None,
        metadata={"help": "Width of the feed-forward layer; unset: 8/3 (gated) or 4 (plain) times --hidden_size."},
    )
    max_position_embeddings: int | None = field(
        default=None, metadata={"help": "Longest sequence in tokens; unset: the longest row of this run."}
    )
    tie_word_embeddings: bool | None = field(
        default=None,
        metadata={
            "help": f"Share the weights of input embedding and output head; {unset_help('tie_word_embeddings')}."
        },
    )
    hidden_dropout: float | None = field(
        default=None,
        metadata={"help": "Dropout probability on the output of each sublayer, 0 to 1; unset: that of the recipe."},
    )
    depth_scaling: Literal["none", "scaled", "deepnorm"] | None = field(
        default=None,
        metadata={"help": "Initialisation by depth: none, scaled (output projections by 1/sqrt(2 layers)), "
                  f"deepnorm; {unset_help('depth_scaling')}."},
    )  # fmt: skip
    config_overrides: str | None = field(
        default=None,
        metadata={"help": 'Any other configuration fields as JSON: \'{"residual_type": "sandwich"}\'.'},
    )
    peft: Literal["lora"] | None = field(
        default=None,
        metadata={"help": "Train a low-rank adapter and freeze the model's weights (needs the package peft)."},
    )
    lora_r: int = field(default=8, metadata={"help": "Rank of the adapter."})
    lora_alpha: float = field(
        default=16.0, metadata={"help": "Scale of the adapter: its output is multiplied by lora_alpha / lora_r."}
    )
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout probability on the adapter's input, 0 to 1."})
    merge_adapter: bool = field(
        default=False,
        metadata={"help": "Save the whole model with the adapter merged into it, instead of the adapter."},
    )

    SOURCE_FIELDS = ("init_from", "config_file", "architecture", "recipe", "config_overrides")
    ADAPTER_FIELDS = ("peft", "lora_r", "lora_alpha", "lora_dropout", "merge_adapter")

    def __post_init__(self) -> None:
        if self.init_from and self.config_file:
            raise ValueError("--init_from and --config_file both select a model; give one of them.")
        given = ", ".join(f"--{name}" for name in [*self.given_fields(), "recipe"] if getattr(self, name) is not None)
        source = "--init_from" if self.init_from else "--config_file" if self.config_file else ""
        if source and given:
            raise ValueError(f"{source} has its own sizes and architecture; leave out {given}.")
        if self.peft and not self.init_from:
            raise ValueError("--peft trains an adapter for an existing checkpoint; give it with --init_from.")
        if self.peft is None and self.merge_adapter:
            raise ValueError("--merge_adapter needs an adapter; add --peft lora.")
        self.overrides = parse_overrides(self.config_overrides) if self.config_overrides else {}

    def given_fields(self) -> dict[str, Any]:
        """Configuration fields that the user gave as options."""
        names = [
            item.name
            for item in dataclasses.fields(self)
            if item.name not in (*self.SOURCE_FIELDS, *self.ADAPTER_FIELDS)
        ]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def config_fields(self, task_fields: dict[str, Any]) -> dict[str, Any]:
        """Fields of a new configuration, and "recipe": defaults, then the user's options, then --config_overrides.
        `task_fields`: defaults of the task; with --recipe only those of DEFAULT_CONFIG_FIELDS apply, because the recipe
        decides the rest."""
        defaults = {"recipe": None} | DEFAULT_CONFIG_FIELDS | task_fields
        if self.recipe is not None:
            defaults = {name: defaults[name] for name in DEFAULT_CONFIG_FIELDS} | {"recipe": self.recipe}
        return defaults | self.given_fields() | self.overrides


def parse_overrides(text: str) -> dict[str, Any]:
    """A JSON object as a dictionary. Raises ValueError for anything else."""
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
