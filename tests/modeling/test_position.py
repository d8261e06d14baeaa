"""Position types: each one equals its paper's formula or a native family of transformers."""

import copy

import pytest
import torch
from transformers import LlamaConfig, T5Config
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb
from transformers.models.m2m_100.modeling_m2m_100 import M2M100SinusoidalPositionalEmbedding
from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding
from transformers.models.t5.modeling_t5 import T5Attention

import hf_tfm
from hf_tfm.modeling.position import POSITIONS, Rotation, alibi_slopes
from tests.grid import SIZES, assert_same, ids, logits_of, make

EMBEDS = torch.zeros(1, 40, 32)


def make_position(position_type, is_causal=True, **fields):
    config = hf_tfm.TfmDecoderConfig(**{**SIZES, "position_type": position_type, **fields})
    return POSITIONS[position_type](config, is_causal)


@pytest.mark.parametrize("position_type", POSITIONS)
def test_token_order_matters_unless_there_are_no_positions(position_type):
    model, tokens = make("encoder", position_type=position_type), ids(1, 9)
    order = torch.tensor([4, 0, 7, 2, 8, 1, 6, 3, 5])  # no reversal: ALiBi does not distinguish left and right
    change = (logits_of(model, tokens)[:, order] - logits_of(model, tokens[:, order])).abs().max()
    assert (change > 1e-3) == (position_type != "none"), f"another order changes logits by {change:.1e}"


@pytest.mark.parametrize("heads", [1, 2, 3, 6, 8, 12, 16, 20, 31])
def test_alibi_slopes_equal_those_of_bloom(heads):
    wanted = build_alibi_tensor(torch.ones(1, 5), heads, torch.float32).view(heads, 5)[:, 1]
    assert_same(alibi_slopes(heads), wanted, 1e-6, "slopes")


def test_alibi_bias_is_minus_slope_times_distance():
    bias = make_position("alibi").bias(EMBEDS, None)["full_attention"]
    slope = alibi_slopes(4)[2]
    assert_same(bias[0, 2, 7, 3], -4 * slope, 1e-6)
    assert_same(bias[0, 2, 3, 7], -4 * slope, 1e-6)


@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (8, 20), (16, 32)])
def test_relative_buckets_equal_those_of_t5(buckets, distance):
    offsets = torch.arange(-300, 300)
    sizes = {"relative_attention_num_buckets": buckets, "relative_attention_max_distance": distance}
    for is_causal in (True, False):
        ours = make_position("relative_bias", is_causal, **sizes).buckets(offsets)
        assert torch.equal(ours, T5Attention._relative_position_bucket(offsets, not is_causal, buckets, distance))


def test_relative_bias_equals_that_of_t5():
    native = T5Attention(T5Config(d_model=32, num_heads=4, d_kv=8), has_relative_attention_bias=True, layer_idx=0)
    ours = make_position("relative_bias", is_causal=False)
    ours.relative_attention_bias.load_state_dict(native.relative_attention_bias.state_dict())
    assert_same(ours.bias(EMBEDS, None)["full_attention"], native.compute_bias(40, 40), 1e-6, "bias")


def test_sinusoids_equal_those_of_marian_and_m2m100():
    positions = torch.arange(40)[None]
    marian = MarianSinusoidalPositionalEmbedding(60, 32)
    marian.weight.data = marian.create_weight()
    ours = make_position("sinusoidal").embed(EMBEDS, positions)
    assert_same(ours[0], marian.weight[:40], 1e-6, "Marian's table")
    m2m = M2M100SinusoidalPositionalEmbedding(60, 32, padding_idx=1)
    ours = make_position("sinusoidal", sinusoid_type="half_minus_one", position_offset=2).embed(EMBEDS, positions)
    assert_same(ours[0], m2m.weights[2:42], 2e-6, "M2M-100's table")


def test_sinusoids_are_exact_at_large_positions():
    far = torch.tensor([[1_000_000]])
    found = make_position("sinusoidal").embed(EMBEDS[:, :1], far)[0, 0]
    k = torch.arange(16, dtype=torch.float64)
    phase = 1_000_000 * 10000 ** (-k / 16)
    assert_same(found, torch.cat((phase.sin(), phase.cos())), 1e-6, "position 1,000,000")


ROPES = {
    "default": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 4.0},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    "dynamic": {"rope_type": "dynamic", "factor": 2.0},
    "longrope": {
        "rope_type": "longrope",
        "factor": 4.0,
        "original_max_position_embeddings": 16,
        "short_factor": [1.0, 1.1, 1.2, 1.3],
        "long_factor": [2.0, 3.0, 4.0, 5.0],
    },
    "proportional": {"rope_type": "proportional", "partial_rotary_factor": 0.5},
}


@pytest.mark.parametrize("kind", ROPES)
@pytest.mark.parametrize("length", [12, 100])
def test_rotary_angles_and_rotation_equal_those_of_llama(kind, length):
    # 100 is longer than every original length here: scaled types differ from each other there
    shape = {"hidden_size": 32, "num_attention_heads": 4, "max_position_embeddings": 64}
    rope = {"rope_theta": 5000.0, **ROPES[kind]}
    native = LlamaRotaryEmbedding(LlamaConfig(**shape, rope_parameters=copy.deepcopy(rope)))
    model = make("decoder", rope_parameters=rope)
    positions = torch.arange(length)[None]
    wanted = native(EMBEDS, positions)
    found = model.model.position.angles(EMBEDS, positions)["full_attention"]
    sign = torch.tensor([-1.0] * 4 + [1.0] * 4)
    for name, ours, theirs in zip(("cos", "sin"), found, (wanted[0], wanted[1] * sign), strict=True):
        assert_same(ours.squeeze(1), theirs, 1e-6, name)
    query, key = torch.randn(1, 4, length, 8), torch.randn(1, 2, length, 8)
    rotated = model.model.layers[0].self_attn.rotation(query, key, found)
    for name, ours, theirs in zip(("queries", "keys"), rotated, apply_rotary_pos_emb(query, key, *wanted), strict=True):
        assert_same(ours, theirs, 1e-6, f"rotated {name}")


def test_partial_rotation_leaves_the_rest_of_the_head_unchanged():
    rope = {"rope_theta": 1e4, "rope_type": "default", "partial_rotary_factor": 0.5}
    attention = make("decoder", rope_parameters=rope).model.layers[0].self_attn
    angles = (torch.full((1, 1, 3, 4), 0.5), torch.full((1, 1, 3, 4), 0.5))
    heads = torch.randn(1, 4, 3, 8)
    for rotated in attention.rotation(heads, heads, angles):
        assert torch.equal(rotated[..., 4:], heads[..., 4:])
        assert not torch.equal(rotated[..., :4], heads[..., :4])


def test_layer_types_have_their_own_frequencies_and_rope_layers_switches_rotation_off():
    model = make(
        "decoder",
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention", "full_attention"],
        rope_layers=[True, True, False],
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            "full_attention": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0},
        },
    )
    angles = model.model.position.angles(EMBEDS, torch.arange(40)[None])
    assert not torch.equal(angles["sliding_attention"][0], angles["full_attention"][0])
    rotations = [type(layer.self_attn.rotation) for layer in model.model.layers]
    assert rotations == [Rotation, Rotation, type(None)]


def test_learned_positions_have_a_row_per_position_and_for_the_offset():
    table = make("decoder", position_type="learned", position_offset=2).model.position.embedding
    assert table.num_embeddings == SIZES["max_position_embeddings"] + 2


@pytest.mark.parametrize("how", ["to", "half", "bfloat16"])
def test_casting_the_model_does_not_round_frequencies(how):
    model = make("decoder")
    exact = model.model.position.rotary["shared"].inv_freq.clone()
    {"to": lambda: model.to(torch.bfloat16), "half": model.half, "bfloat16": model.bfloat16}[how]()
    assert torch.equal(model.model.position.rotary["shared"].inv_freq, exact)
