"""Our models paired with peers: of the same weights where the peer can be converted, otherwise of the same sizes."""

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AutoConfig

from hf_tfm.conversion import from_native, to_native
from hf_tfm.conversion.auto_classes import TFM_CONFIGS, model_class
from hf_tfm.conversion.native_checkpoints import load_native
from hf_tfm.conversion.registry import FAMILIES, is_supported

from .interleaved_timing import ModelPair
from .peer_models import NATIVE_CONFIGS, X_TRANSFORMERS, ModelSizes, native_model, x_transformers_model

__all__ = ["TOLERANCES", "ComparedModels", "check_equal_outputs", "compared_models", "with_config_fields"]

# head -> our model type, and the native family that `native` stands for
MODEL_TYPES = {
    "base": "tfm_encoder", "masked-lm": "tfm_encoder", "causal-lm": "tfm_decoder", "seq2seq-lm": "tfm_seq2seq",
}  # fmt: skip
DEFAULT_FAMILIES = {"base": "bert", "masked-lm": "bert", "causal-lm": "llama", "seq2seq-lm": "t5"}
NO_DROPOUT = dict.fromkeys(
    ("hidden_dropout", "attention_dropout", "embedding_dropout", "activation_dropout", "classifier_dropout"), 0.0
)
# dtype -> largest relative difference of outputs that rounding explains, since sums are taken in another order
TOLERANCES = {"fp32": 1e-3, "bf16": 0.1, "bf16-weights": 0.1}


@dataclass
class ComparedModels:
    """Models by name, and the pairs whose ratios are reported. Names of our models begin with "ours"."""

    models: dict[str, Any] = field(default_factory=dict)
    pairs: list[ModelPair] = field(default_factory=list)

    def add_peer(self, name: str, peer: Any, ours: str, same_weights: bool) -> None:
        self.models[name] = peer
        self.pairs.append(ModelPair(ours, name, same_weights))

    @property
    def hidden_size(self) -> int:
        """Width of our first model. A checkpoint has its own, whatever --hidden_size says."""
        return next(iter(self.models.values())).config.hidden_size

    @property
    def vocab_size(self) -> int:
        """The smallest vocabulary, whose ids every model knows."""
        return min(model.config.vocab_size for model in self.models.values())

    def ours(self) -> list[Any]:
        return [model for name, model in self.models.items() if name.startswith("ours")]

    def to(self, device: str) -> None:
        for model in self.models.values():
            model.to(device)

    def cast_weights(self, dtype: str) -> None:
        """Cast weights to bfloat16 if `dtype` is bf16-weights. Buffers, such as rotary frequencies, stay in float32."""
        if dtype == "bf16-weights":
            for model in self.models.values():
                for weight in model.parameters():
                    weight.data = weight.data.bfloat16()


def compared_models(
    head: str,
    peers: list[str],
    sizes: ModelSizes,
    recipe: str | None,
    convert_each: bool,
    config_fields: dict[str, Any],
    seed: int = 0,
) -> ComparedModels:
    """Our models and their peers, ours first.

    `peers`: native families, x-transformers, or checkpoints (folders or Hub names, native or ours). "native" stands for
    the family of the recipe, or for the usual family of the head. `recipe`: ours is built from it; None: ours is
    converted from a peer: from every convertible one if `convert_each`, otherwise from the first, and the other peers
    are compared with that model. `config_fields`: fields of our configuration that change no output. Raises ValueError
    for unknown peers, and PeerNotInstalledError for missing libraries."""
    if recipe:
        return with_ours_from_recipe(head, peers, sizes, recipe, config_fields, seed)
    compared = ComparedModels()
    for index, peer_name in enumerate(peers):
        name = DEFAULT_FAMILIES[head] if peer_name == "native" else peer_name
        peer, our_checkpoint = load_peer(name, head, sizes, seed)
        same_weights = is_convertible(peer) and (convert_each or index == 0)
        if same_weights:
            ours = f"ours from {name}" if convert_each and len(peers) > 1 else "ours"
            model = from_native(peer) if our_checkpoint is None else our_checkpoint
            compared.models[ours] = with_config_fields(model, config_fields)
        elif compared.models:
            ours = next(iter(compared.models))
        else:
            raise ValueError(f"{name} cannot be converted: put a native family before it in --peers, or give --recipe.")
        compared.add_peer(name, peer, ours, same_weights)
    return compared


def with_ours_from_recipe(
    head: str, peers: list[str], sizes: ModelSizes, recipe: str, config_fields: dict[str, Any], seed: int
) -> ComparedModels:
    """Ours by a recipe; the peer "native" is its conversion, other peers have weights of their own."""
    ours = with_config_fields(model_from_recipe(recipe, head, sizes, seed), config_fields)
    compared = ComparedModels({"ours": ours})
    for name in peers:
        if name == "native":
            peer = to_native(ours, recipe if recipe in FAMILIES else None)
        else:
            peer, _ = load_peer(name, head, sizes, seed)
        compared.add_peer(name, peer, "ours", same_weights=name == "native")
    return compared


def load_peer(name: str, head: str, sizes: ModelSizes, seed: int) -> tuple[Any, Any]:
    """A peer, and our model of the same weights if the peer is one of our checkpoints, else None."""
    if name in NATIVE_CONFIGS:
        return native_model(name, head, sizes, seed), None
    if name == X_TRANSFORMERS:
        return x_transformers_model(head, sizes, seed), None
    try:
        config = AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        allowed = ", ".join(["native", *NATIVE_CONFIGS, X_TRANSFORMERS])
        raise ValueError(f"{name} is not a peer: give {allowed}, or a checkpoint that can be read ({error})") from error
    if config.model_type not in TFM_CONFIGS:
        return load_native(name, head, torch.float32).model, None
    ours = model_class(config, head).from_pretrained(name, dtype=torch.float32)
    return to_native(ours), ours


def is_convertible(peer: Any) -> bool:
    return is_supported(getattr(getattr(peer, "config", None), "model_type", None)) and hasattr(peer, "save_pretrained")


def model_from_recipe(recipe: str, head: str, sizes: ModelSizes, seed: int) -> Any:
    """Our model with random weights. Raises ValueError if the recipe is not for this architecture."""
    config_class: Any = TFM_CONFIGS[MODEL_TYPES[head]]
    config = config_class.recipe(
        recipe, vocab_size=sizes.vocab_size, hidden_size=sizes.hidden_size, num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads, max_position_embeddings=sizes.length, **NO_DROPOUT,
    )  # fmt: skip
    torch.manual_seed(seed)
    return model_class(config, head)(config)


def with_config_fields(model: Any, config_fields: dict[str, Any]) -> Any:
    """The model with other values of these fields. It is built again with the same weights, since a model reads its
    configuration only when it is built."""
    changed = {name: value for name, value in config_fields.items() if getattr(model.config, name) != value}
    if not changed:
        return model
    config = copy.deepcopy(model.config)
    for name, value in changed.items():
        setattr(config, name, value)
    return type(model).from_pretrained(None, config=config, state_dict=model.state_dict())


@torch.no_grad()
def check_equal_outputs(
    outputs: dict[str, torch.Tensor], pairs: list[ModelPair], tolerance: float = TOLERANCES["fp32"]
) -> dict[str, float]:
    """The largest difference of outputs relative to the largest output, by peer, for pairs of the same weights.
    Raises ValueError if one is above the tolerance."""
    differences: dict[str, float] = {}
    for pair in pairs:
        if not pair.same_weights:
            continue
        ours, peer = outputs[pair.ours].float(), outputs[pair.peer].float()
        difference = ((ours - peer).abs().max() / peer.abs().max()).item()
        # NaN fails too
        if not difference <= tolerance:
            raise ValueError(
                f"{pair.ours} and {pair.peer} hold the same weights, but their outputs differ by {difference:.1e} of "
                f"the largest output (allowed: {tolerance:g}). A ratio of their speeds would mean nothing."
            )
        differences[pair.peer] = difference
    return differences
