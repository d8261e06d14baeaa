"""A model in float64 gives the numbers of `reference.py`, which shares no code with it."""

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import event, given, note, seed, settings
from torch import nn

from hf_tfm.modeling.rotary_embedding import TfmRotaryEmbedding
from tests.fuzz.case import Case, Refused, code_of
from tests.fuzz.reference import Reference
from tests.fuzz.rotary_frequencies import frequencies
from tests.fuzz.strategies import legal_fields
from tests.fuzz.test_fuzz import SETTINGS
from tests.grid import LANGUAGE_MODELS, assert_same

EXAMPLES = 40
MANY_EXAMPLES = 500
EXACT = 1e-9
ROUTING = 2e-6  # the router's softmax is computed in float32
FREQUENCIES = 1e-6  # transformers computes them in float32
STRETCHED = 1e-5  # and those of a row longer than max_position_embeddings at every call


def use_exact_frequencies(model: Any) -> None:
    """Replaces the rotary frequencies by the reference's in float64, after they are found to be equal."""
    for module in model.modules():
        if not isinstance(module, TfmRotaryEmbedding):
            continue
        parameters, longest = module.config.rope_parameters, module.config.max_position_embeddings
        sets = {}
        for name, tokens in (("original_inv_freq", 1), ("long_inv_freq", 10**6)):
            speeds, factor = frequencies(parameters, module.config.head_dim, longest, tokens)
            sets[name] = torch.tensor(speeds, dtype=torch.float64)
        assert_same(module.original_inv_freq, sets["original_inv_freq"], FREQUENCIES, "rotary frequencies")
        assert module.attention_scaling == pytest.approx(factor), "factor of cosines and sines"
        module.inv_freq = nn.Buffer(sets["original_inv_freq"].clone(), persistent=False)
        module.original_inv_freq = nn.Buffer(sets["original_inv_freq"], persistent=False)
        if module.rope_type == "longrope":
            module.long_inv_freq = sets["long_inv_freq"]


def compare(architecture: str, fields: dict[str, Any]) -> None:
    """Fails unless the model's logits of one row are the reference's. Raises Refused as `Case` does."""
    case = Case(architecture, fields)
    model = case.double_model()
    tokens, target = case.rows[1], case.target[:1] if case.is_seq2seq else None
    use_exact_frequencies(model)
    found = case.logits(model, tokens, target)[0]
    with torch.no_grad():
        wanted = Reference(case.config, model.state_dict()).logits(
            tokens[0].tolist(), None if target is None else target[0].tolist()
        )
    is_dynamic = "dynamic" in str(getattr(case.config, "rope_parameters", None))
    stretched = is_dynamic and tokens.shape[1] > case.config.max_position_embeddings
    tolerance = STRETCHED if stretched else ROUTING if case.config.mlp_type == "moe" else EXACT
    assert_same(found, wanted, tolerance, "logits of model and reference")


def compare_many(architecture: str, examples: int, fixed_seed: int | None) -> None:
    happened: Counter = Counter()

    @settings(SETTINGS, max_examples=examples)
    @given(legal_fields(architecture))
    def run(fields: dict[str, Any]) -> None:
        note(code_of(architecture, fields, "tests.fuzz.test_reference", "compare"))
        try:
            compare(architecture, fields)
            happened["compared"] += 1
        except Refused as refusal:
            happened["refused"] += 1
            event(str(refusal))

    (run if fixed_seed is None else seed(fixed_seed)(run))()
    assert happened["compared"] >= 0.9 * happened.total(), f"too few configurations are compared: {happened}"


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_logits_equal_the_reference(architecture):
    compare_many(architecture, EXAMPLES, 0)


@pytest.mark.fuzz
@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_logits_of_many_configurations_equal_the_reference(architecture):
    compare_many(architecture, MANY_EXAMPLES, None)
