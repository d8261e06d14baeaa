"""Inference on a CPU takes the sequences of a padded batch through all blocks group by group: the same numbers, and not
where something must be kept."""

import pytest
import torch
from transformers import DynamicCache

from hf_tfm.modeling import unpadding
from hf_tfm.modeling.attention import SelfAttention
from hf_tfm.modeling.sequence_lengths import SequenceLengths
from tests.grid import assert_same, ids, make
from tests.modeling.padded_batches import LEFT, LENGTHS, MIXED, batch


@pytest.fixture
def grouped(monkeypatch):
    """Groups of one sequence each, and how many tokens go through the first block at a time."""
    sizes = []
    forward = SelfAttention.forward

    def watched(self, states, *inputs, **context):
        sizes.extend([states.shape[:2]] * (self.layer_idx == 0))
        return forward(self, states, *inputs, **context)

    monkeypatch.setattr(SelfAttention, "forward", watched)
    monkeypatch.setattr(unpadding, "GROUP_BYTES", 1)
    return sizes


GROUPED = {
    "positions in the words": {"position_type": "learned"},
    "angles": {"position_type": "rotary"},
    # angles of each token depend on the longest sequence of the batch
    "angles for long rows": {
        "position_type": "rotary",
        "max_position_embeddings": 6,
        "rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0},
    },
    "a bias": {"position_type": "relative_bias"},
    "a window": {"position_type": "rotary", "sliding_window": 4},
    "experts": {"mlp_type": "moe", "num_experts": 3},
}


@pytest.mark.parametrize("architecture", ["encoder", "decoder", "seq2seq"])
@pytest.mark.parametrize("what", GROUPED)
@torch.no_grad()
def test_without_gradients_sequences_go_group_by_group(architecture, what, grouped):
    model = make(architecture, **GROUPED[what])
    inputs, mask = batch(architecture, MIXED)
    del inputs["labels"]
    found = {}
    for word in (False, True):
        grouped.clear()
        model.config.padding_free = word
        found[word] = model(**inputs, use_cache=False)
    assert_same(found[True].logits[mask.bool()], found[False].logits[mask.bool()], what="logits")
    # targets beside a memory stay together
    whole = [(1, sum(LENGTHS))] * (architecture == "seq2seq")
    assert grouped == [(1, length) for length in sorted(LENGTHS)] + whole


@torch.no_grad()
def test_packed_documents_go_group_by_group(grouped):
    model = make("decoder")
    positions = torch.stack([torch.cat([torch.arange(n) for n in lengths]) for lengths in ((4, 5), (2, 7))])
    found = {}
    for word in (False, True):
        grouped.clear()
        model.config.padding_free = word
        found[word] = model(ids(2, 9), position_ids=positions, use_cache=False).logits
    assert_same(found[True], found[False], what="logits")
    assert grouped == [(1, 2), (1, 4), (1, 5), (1, 7)]


def test_what_must_be_kept_goes_through_at_once(grouped):
    model = make("decoder")
    inputs, _ = batch("decoder", LEFT)
    del inputs["labels"]
    for wishes in ({"use_cache": True}, {"past_key_values": DynamicCache(), "use_cache": False}):
        with torch.no_grad():
            model(**inputs, **wishes)
    model(**inputs, use_cache=False)
    assert grouped == [(1, sum(LENGTHS))] * 3


def test_groups_are_of_about_one_size():
    lengths = torch.tensor([1, 2, 3, 4, 5, 6, 7])
    own = SequenceLengths((7, 9), torch.arange(7) * 9, lengths)
    for size, wanted in {28: [28], 14: [15, 13], 9: [10, 11, 7], 1000: [28], 1: lengths.tolist()}.items():
        groups = own.split(size)
        assert [int(group.lengths.sum()) for group in groups] == wanted, size
        assert torch.equal(torch.cat([group.token_indices() for group in groups]), own.token_indices())
