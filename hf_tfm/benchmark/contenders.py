"""Our model beside its peers: with the same weights where there is a native family, of the same shape elsewhere."""

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AutoConfig

from ..conversion import from_native, to_native
from ..conversion.families import FAMILIES
from ..conversion.family import CONFIGS, model_class
from ..conversion.opening import open_native
from .measure import Match
from .peers import NATIVE, OTHERS, Sizes, native

__all__ = ["ROUNDING", "Field", "check_equal", "field_of", "with_words"]

KINDS = {"base": "tfm_encoder", "masked-lm": "tfm_encoder", "causal-lm": "tfm_decoder", "seq2seq-lm": "tfm_seq2seq"}
USUAL = {"base": "bert", "masked-lm": "bert", "causal-lm": "llama", "seq2seq-lm": "t5"}
NO_DROPOUT = dict.fromkeys(
    ("hidden_dropout", "attention_dropout", "embedding_dropout", "activation_dropout", "classifier_dropout"), 0.0
)
# dtype -> what sums in another order may change, relative to the largest number compared: rounding, not another model
ROUNDING = {"fp32": 1e-3, "bf16": 0.1, "bf16-weights": 0.1}


@dataclass
class Field:
    """Models by name, and who is set against whom. Ours have names that begin with "ours"."""

    models: dict[str, Any] = field(default_factory=dict)
    matches: list[Match] = field(default_factory=list)

    @property
    def width(self) -> int:
        """Elements of a hidden state of ours, which a checkpoint decides by itself."""
        return next(iter(self.models.values())).config.hidden_size

    def ours(self) -> list[Any]:
        return [model for name, model in self.models.items() if name.startswith("ours")]

    def place(self, device: str) -> None:
        for model in self.models.values():
            model.to(device)

    def halve(self, dtype: str) -> None:
        """Weights in bfloat16 where `dtype` says so; rotary frequencies and other buffers stay as they are."""
        if dtype != "bf16-weights":
            return
        for model in self.models.values():
            for weight in model.parameters():
                weight.data = weight.data.bfloat16()

    @property
    def words(self) -> int:
        """How many words all of them know."""
        return min(model.config.vocab_size for model in self.models.values())


def field_of(
    head: str, against: list[str], size: Sizes, recipe: str | None, each: bool, words: dict[str, Any], seed: int = 0
) -> Field:
    """The contenders, the first of ours at first.

    `against`: "native" (the recipe's family, else the head's usual one), families, x-transformers, or checkpoints
    (folders or Hub names, native or ours). `recipe`: ours is built by it, of these sizes; None: ours is converted from
    a peer: from every one that has weights to share if `each`, otherwise from the first, and the others meet that one.
    `words`: fields of our configuration that change no number. Raises ValueError for peers that cannot be had, and
    PeerMissing for what is not installed."""
    made = Field()
    if recipe:
        made.models["ours"] = with_words(of_recipe(recipe, head, size, seed), words)
    for place, name in enumerate(against):
        peer, mine = opened(name, head, size, made.models.get("ours") if recipe else None, recipe, seed)
        label = USUAL[head] if name == "native" and not recipe else name
        shares = not recipe and convertible(peer) and (each or place == 0)
        if shares:
            ours = "ours" if not each or len(against) == 1 else f"ours as {label}"
            made.models[ours] = with_words(from_native(peer) if mine is None else mine, words)
        elif made.models:
            ours = next(iter(made.models))
        else:
            raise ValueError(f"{name} has no weights to share: name a native family first, or give --recipe.")
        made.models[label] = peer
        made.matches.append(Match(ours, label, shares or bool(recipe and name == "native")))
    return made


def opened(name: str, head: str, size: Sizes, ours: Any, recipe: str | None, seed: int) -> tuple[Any, Any]:
    """A peer, and ours where its checkpoint is one of ours."""
    if name == "native" and recipe:
        return to_native(ours, recipe if recipe in FAMILIES else None), None
    name = USUAL[head] if name == "native" else name
    if name in NATIVE:
        return native(name, head, size, seed), None
    if name in OTHERS:
        return OTHERS[name](head, size, seed), None
    try:
        config = AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        known = ", ".join(["native", *NATIVE, *OTHERS])
        raise ValueError(f"{name} is none of {known}, nor a checkpoint that can be read: {error}") from error
    if config.model_type not in CONFIGS:
        return open_native(name, head, torch.float32), None
    mine = model_class(config, head).from_pretrained(name, dtype=torch.float32)
    return to_native(mine), mine


def convertible(peer: Any) -> bool:
    return getattr(getattr(peer, "config", None), "model_type", None) in FAMILIES and hasattr(peer, "save_pretrained")


def of_recipe(recipe: str, head: str, size: Sizes, seed: int) -> Any:
    """Our model by a recipe, with random weights. Raises ValueError if the recipe is not for this architecture."""
    config_class: Any = CONFIGS[KINDS[head]]
    config = config_class.recipe(
        recipe, vocab_size=size.vocab_size, hidden_size=size.hidden_size, num_hidden_layers=size.layers,
        num_attention_heads=size.heads, max_position_embeddings=size.length, **NO_DROPOUT,
    )  # fmt: skip
    torch.manual_seed(seed)
    return model_class(config, head)(config)


def with_words(model: Any, words: dict[str, Any]) -> Any:
    """The same weights in a model built with further words: the configuration is read when a model is built."""
    changed = {name: value for name, value in words.items() if getattr(model.config, name) != value}
    if not changed:
        return model
    config = copy.deepcopy(model.config)
    for name, value in changed.items():
        setattr(config, name, value)
    return type(model).from_pretrained(None, config=config, state_dict=model.state_dict())


@torch.no_grad()
def check_equal(
    answers: dict[str, torch.Tensor], matches: list[Match], tolerance: float = ROUNDING["fp32"]
) -> dict[str, float]:
    """The largest difference of the answers of either side of every match with equal weights, relative to the largest
    answer; by the peer's name. Raises ValueError where that is more than the tolerance."""
    found: dict[str, float] = {}
    for match in matches:
        if not match.same_weights:
            continue
        ours, theirs = answers[match.ours].float(), answers[match.theirs].float()
        found[match.theirs] = ((ours - theirs).abs().max() / theirs.abs().max()).item()
        if not found[match.theirs] <= tolerance:
            raise ValueError(
                f"{match.ours} and {match.theirs} hold the same weights and answer otherwise: largest relative "
                f"difference {found[match.theirs]:.1e}. Their speeds would be those of different functions."
            )
    return found
