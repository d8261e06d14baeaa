"""In inference on a CPU, groups of unpadded sequences pass through all blocks one after the other. The numbers are the
same, and a batch that fills a cache or needs gradients stays together."""

import pytest
import torch
from transformers import DynamicCache

from hf_tfm.modeling import unpadding
from hf_tfm.modeling.attention import SelfAttention
from hf_tfm.modeling.sequence_lengths import SequenceLengths
from tests.grid import assert_same, ids, make
from tests.modeling.padded_batches import LEFT, LENGTHS, MIXED, batch


@pytest.fixture
def group_shapes(monkeypatch):
    """Makes groups of one sequence each, and records the shapes (1, tokens) of the first block's inputs."""
    shapes = []
    forward = SelfAttention.forward

    def recording(self, states, *inputs, **context):
        shapes.extend([states.shape[:2]] * (self.layer_idx == 0))
        return forward(self, states, *inputs, **context)

    monkeypatch.setattr(SelfAttention, "forward", recording)
    monkeypatch.setattr(unpadding, "GROUP_BYTES", 1)
    return shapes


# name -> configuration fields
VARIANTS = {
    "learned positions": {"position_type": "learned"},
    "rotary": {"position_type": "rotary"},
    # the angles of each token depend on the longest sequence of the batch
    "dynamic rotary": {
        "position_type": "rotary",
        "max_position_embeddings": 6,
        "rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0},
    },
    "relative bias": {"position_type": "relative_bias"},
    "sliding window": {"position_type": "rotary", "sliding_window": 4},
    "experts": {"mlp_type": "moe", "num_experts": 3},
}


@pytest.mark.parametrize("architecture", ["encoder", "decoder", "seq2seq"])
@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_groups_give_the_logits_of_the_padded_batch(architecture, name, group_shapes):
    model = make(architecture, **VARIANTS[name])
    inputs, mask = batch(architecture, MIXED)
    del inputs["labels"]
    found = {}
    for padding_free in (False, True):
        group_shapes.clear()
        model.config.padding_free = padding_free
        found[padding_free] = model(**inputs, use_cache=False)
    assert_same(found[True].logits[mask.bool()], found[False].logits[mask.bool()], what="logits")
    # the decoder of an encoder-decoder takes all sequences at once
    decoder = [(1, sum(LENGTHS))] * (architecture == "seq2seq")
    assert group_shapes == [(1, length) for length in sorted(LENGTHS)] + decoder


@torch.no_grad()
def test_packed_documents_pass_in_groups(group_shapes):
    model = make("decoder")
    positions = torch.stack([torch.cat([torch.arange(n) for n in lengths]) for lengths in ((4, 5), (2, 7))])
    found = {}
    for padding_free in (False, True):
        group_shapes.clear()
        model.config.padding_free = padding_free
        found[padding_free] = model(ids(2, 9), position_ids=positions, use_cache=False).logits
    assert_same(found[True], found[False], what="logits")
    assert group_shapes == [(1, 2), (1, 4), (1, 5), (1, 7)]


def test_batch_with_a_cache_or_gradients_stays_together(group_shapes):
    model = make("decoder")
    inputs, _ = batch("decoder", LEFT)
    del inputs["labels"]
    for cache in ({"use_cache": True}, {"past_key_values": DynamicCache(), "use_cache": False}):
        with torch.no_grad():
            model(**inputs, **cache)
    model(**inputs, use_cache=False)
    assert group_shapes == [(1, sum(LENGTHS))] * 3


def test_groups_have_about_equal_sizes():
    lengths = torch.tensor([1, 2, 3, 4, 5, 6, 7])
    sequences = SequenceLengths((7, 9), torch.arange(7) * 9, lengths)
    for size, wanted in {28: [28], 14: [15, 13], 9: [10, 11, 7], 1000: [28], 1: lengths.tolist()}.items():
        groups = sequences.split(size)
        assert [int(group.lengths.sum()) for group in groups] == wanted, size
        assert torch.equal(torch.cat([group.token_indices() for group in groups]), sequences.token_indices())
