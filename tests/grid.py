"""The grid of configurations under test. It reads the registries of `hf_tfm.modeling`, so that a new entry there is
tested without a change here.

`pairwise` picks rows so that every pair of values of two axes occurs in at least one of them.
"""

import os
import shutil
from collections.abc import Callable
from itertools import combinations, product
from typing import Any

import pytest
import torch

import hf_tfm
from hf_tfm.modeling.block import WIRINGS
from hf_tfm.modeling.feed_forward import FEED_FORWARDS
from hf_tfm.modeling.normalization import NORMS, QK_NORMS
from hf_tfm.modeling.position import POSITIONS

SIZES = {
    "vocab_size": 53,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="no C++ compiler: torch compiles for the CPU with one"
)
FIRST_ORDINARY_ID = 3  # ids below are special tokens

# axis -> value -> configuration fields
AXES: dict[str, dict[str, dict[str, Any]]] = {
    "position": {name: {"position_type": name} for name in POSITIONS},
    "wiring": {name: {"residual_type": name} for name in WIRINGS},
    "norm": {name: {"norm_type": name} for name in NORMS if not name.startswith("nonparametric")},
    "feed_forward": {name: {"mlp_type": name} for name in FEED_FORWARDS},
    "heads": {f"kv{n}": {"num_key_value_heads": n} for n in (4, 2, 1)},
    "qk_norm": {
        **{name: {"qk_norm": name} for name in QK_NORMS},
        "width": {"qk_norm": "width", "qk_norm_position": "after_rotation"},
    },
    "window": {
        "full": {},
        "sliding": {"sliding_window": 4},
        "mixed": {
            "sliding_window": 5,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    },
    "scores": {
        "plain": {},
        "softcap": {"attn_logit_softcapping": 2.0, "attention_output_gate": "head"},
        "sinks": {"attention_sinks": True, "attention_output_gate": "channel"},
        "scaled": {"attention_scale": 0.5, "query_temperature": 0.5, "query_temperature_length": 3},
    },
    "with_extras": {
        "plain": {},
        "biases": {
            "qkv_bias": True,
            "out_bias": True,
            "lm_head_bias": True,
            "head_dim": 12,
            "width_scaling": "mup",
            "mup_base_width": 16,
            "mup_base_head_dim": 8,
        },
        # in the place of the norm that the row has
        "norm_before": {
            "embedding_norm": "before_positions",
            "embedding_scale": 2.0,
            "norm_type": "nonparametric_rms_norm",
        },
        "norm_after": {
            "embedding_norm": "after_positions",
            "lm_head_type": "transform",
            "norm_type": "nonparametric_layer_norm",
        },
        "factorised": {"embedding_size": 16, "first_layer_norm": False, "value_residual": True},
        "untied": {
            "tie_word_embeddings": False,
            "final_logit_softcapping": 5.0,
            "residual_scale": 0.5,
            "layer_scale_init_value": 0.5,
            "z_loss_coef": 0.1,
        },
    },
}


def pairwise(axes: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    """Rows {axis: value} such that every two values of different axes meet in one of them. Greedy; about as many rows
    as the product of the two longest axes."""
    names = list(axes)
    open_pairs = {frozenset([(a, x), (b, y)]) for a, b in combinations(names, 2) for x, y in product(axes[a], axes[b])}
    rows = []
    while open_pairs:
        row = dict(sorted(min(open_pairs, key=sorted)))
        for name in names:
            if name not in row:
                chosen = list(row.items())
                row[name] = max(
                    axes[name],
                    key=lambda value: sum(frozenset([(name, value), other]) in open_pairs for other in chosen),
                )
        open_pairs -= {frozenset(pair) for pair in combinations(row.items(), 2)}
        rows.append({name: row[name] for name in names})
    return rows


def full_grid(axes: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    """Every combination of position, wiring, norm, feed-forward and window; the other axes take turns."""
    leading = ("position", "wiring", "norm", "feed_forward", "window")
    turning = [name for name in axes if name not in leading]
    rows = []
    for i, values in enumerate(product(*(axes[name] for name in leading))):
        row = dict(zip(leading, values, strict=True))
        row |= {name: list(axes[name])[i % len(axes[name])] for name in turning}
        rows.append(row)
    return rows


def config_fields(row: dict[str, str]) -> dict[str, Any]:
    """The configuration fields of a row of the grid."""
    merged: dict[str, Any] = {}
    for axis, value in row.items():
        merged |= AXES[axis][value]
    if merged.get("position_type", "rotary") != "rotary":
        merged.pop("qk_norm_position", None)
    return merged


def row_id(row: dict[str, str]) -> str:
    """Test id of a row: the values that are not the first of their axis."""
    return "-".join(value for axis, value in row.items() if next(iter(AXES[axis])) != value) or "plain"


# architecture -> configuration class, language model class
LANGUAGE_MODELS: dict[str, Any] = {
    "encoder": (hf_tfm.TfmEncoderConfig, hf_tfm.TfmEncoderForMaskedLM),
    "decoder": (hf_tfm.TfmDecoderConfig, hf_tfm.TfmDecoderForCausalLM),
    "seq2seq": (hf_tfm.TfmSeq2SeqConfig, hf_tfm.TfmSeq2SeqForConditionalGeneration),
}


def make(architecture: str, head: Any = None, seed: int = 0, **fields: Any) -> Any:
    """A tiny language model of the architecture (or a model of class `head`) in eval mode. Every weight is random and
    large enough that a mistake shows."""
    config_class, model_class = LANGUAGE_MODELS[architecture]
    torch.manual_seed(seed)
    model = (head or model_class)(config_class(**{**SIZES, **fields})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)
    return model


def ids(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random token ids, no special tokens."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(FIRST_ORDINARY_ID, SIZES["vocab_size"], shape, generator=generator)


def assert_same(found: torch.Tensor, wanted: torch.Tensor, tolerance: float = 2e-5, what: str = "values") -> None:
    """Fails with the largest difference and its index. `tolerance` is relative to the largest value, if above 1."""
    assert found.shape == wanted.shape, f"{what}: shape {tuple(found.shape)}, expected {tuple(wanted.shape)}"
    difference = (found.double() - wanted.double()).abs()
    largest = difference.max().item()
    where = tuple(int(i) for i in torch.unravel_index(difference.argmax(), difference.shape))
    limit = tolerance * max(1.0, wanted.abs().max().item())
    assert largest <= limit, f"{what} differ by {largest:.2e} (limit {limit:.2e}) at {where}"


def make_with_attentions(architecture: str, *names: str, **fields: Any) -> list[Any]:
    """The same model with each of these attention implementations."""
    models = [make(architecture, **fields) for _ in names]
    for model, name in zip(models, names, strict=True):
        model.set_attn_implementation(name)
        assert model.config._attn_implementation == name
    return models


def assert_same_logits_and_gradients(wanted: Any, found: Any, tokens: torch.Tensor) -> None:
    """Fails if logits or gradients of two decoders with the same weights differ on rows without padding."""
    outputs = [model(tokens, use_cache=False).logits for model in (wanted, found)]
    for logits in outputs:
        logits.square().mean().backward()
    assert_same(*reversed(outputs), what="logits")
    for name, weight in wanted.named_parameters():
        assert_same(found.get_parameter(name).grad, weight.grad, what=f"gradient of {name}")


Logits = Callable[..., torch.Tensor]


def logits_of(model: Any, input_ids: torch.Tensor, **inputs: Any) -> torch.Tensor:
    """Logits of a language model for `input_ids`; an encoder-decoder gets a fixed target of six tokens."""
    if model.config.is_encoder_decoder:
        inputs.setdefault("decoder_input_ids", ids(1, 6, seed=9).expand(input_ids.shape[0], -1))
    with torch.no_grad():
        return model(input_ids=input_ids, **inputs).logits
