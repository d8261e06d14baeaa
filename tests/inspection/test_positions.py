"""Every position scheme is drawn from its own module."""

import numpy as np
import pytest
import torch

from hf_tfm.inspection.positions import position_schemes
from hf_tfm.modeling.position import POSITIONS, BiasPosition
from tests.grid import LANGUAGE_MODELS, make

ARRAYS = {
    "none": set(),
    "learned": {"table similarity"},
    "sinusoidal": {"table similarity"},
    "rotary": {"frequencies"},
    "alibi": {"distances", "bias by distance", "slopes"},
    "relative_bias": {"distances", "bias by distance"},
}


def test_every_scheme_is_listed():
    assert ARRAYS.keys() == POSITIONS.keys()


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
@pytest.mark.parametrize("kind", POSITIONS)
def test_schemes(architecture, kind):
    model = make(architecture, position_type=kind)
    found = position_schemes(model, 16)
    assert [scheme.stack for scheme in found] == (["source", "target"] if architecture == "seq2seq" else ["text"])
    for scheme in found:
        assert scheme.kind == kind
        assert scheme.arrays.keys() == ARRAYS[kind]
        assert scheme.sentence.endswith(".")
        assert all(np.isfinite(values).all() for values in scheme.arrays.values())


def test_numbers_are_those_of_the_modules():
    alibi = position_schemes(make("decoder", position_type="alibi"), 16)[0].arrays
    np.testing.assert_allclose(alibi["slopes"], [2**-2, 2**-4, 2**-6, 2**-8])
    np.testing.assert_allclose(alibi["bias by distance"], alibi["slopes"][:, None] * alibi["distances"])
    assert alibi["distances"].tolist() == list(range(-15, 1))
    rotary = position_schemes(make("decoder", position_type="rotary"))[0].arrays
    np.testing.assert_allclose(rotary["frequencies"], 10000.0 ** -(np.arange(4) / 4), rtol=1e-6)
    model = make("encoder", position_type="relative_bias")
    relative = position_schemes(model, 16)[0].arrays
    assert relative["distances"].tolist() == list(range(-15, 16))
    table = model.model.position.relative_attention_bias.weight
    np.testing.assert_allclose(relative["bias by distance"][:, 15], table[0].detach(), rtol=1e-6)
    learned = make("encoder", position_type="learned", position_offset=2)
    rows = torch.nn.functional.normalize(learned.model.position.embedding.weight[2:18], dim=-1).detach()
    similarity = position_schemes(learned, 16)[0].arrays["table similarity"]
    np.testing.assert_allclose(similarity, rows @ rows.T, atol=1e-5)


def test_frequencies_of_each_layer_type():
    model = make(
        "decoder",
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            "full_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
    )
    scheme = position_schemes(model)[0]
    assert scheme.arrays.keys() == {"frequencies", "frequencies of full_attention"}
    assert "full_attention" in scheme.sentence


def test_a_scheme_of_a_user_is_drawn_by_what_it_defines():
    class Squared(BiasPosition):
        def distance_bias(self, distance):
            return -distance.square()[None].float().expand(4, -1, -1)

    model = make("decoder", position_type="alibi")
    model.model.position = Squared(model.config, True)
    arrays = position_schemes(model, 4)[0].arrays
    assert arrays["bias by distance"].tolist() == [[-9, -4, -1, 0]] * 4
