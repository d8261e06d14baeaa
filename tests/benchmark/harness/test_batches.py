"""Random batches: lengths, packing, masking and labels."""

import statistics

import pytest
import torch

from hf_tfm.benchmark.harness.batches import (
    lognormal_lengths,
    mask_tokens,
    pack_sequences,
    pad_sentence_pairs,
    pad_sequences,
    random_sentence_pairs,
    random_sequences,
    with_causal_labels,
)
from hf_tfm.benchmark.harness.training_steps import one_step_batches
from hf_tfm.modeling.loss import IGNORE_INDEX


@pytest.mark.parametrize("fraction", [0.2, 0.4, 0.8])
def test_lengths_have_the_given_mean(fraction):
    lengths = lognormal_lengths(400, 256, fraction)
    assert statistics.mean(lengths) / 256 == pytest.approx(fraction, abs=0.01)
    assert 4 <= min(lengths) < max(lengths) <= 256


def test_packed_and_padded_documents_have_the_same_labels():
    documents = random_sequences(lognormal_lengths(20, 32, 0.4), 100)
    packed = pack_sequences(documents, 32, pad_token_id=0)
    padded = with_causal_labels(pad_sequences(documents, pad_token_id=0))
    assert packed["input_ids"].shape == packed["position_ids"].shape == packed["labels"].shape
    assert packed["input_ids"].shape[1] == 32
    for batch in (packed, padded):
        # the first position of a row predicts nothing
        labels = batch["labels"][:, 1:]
        assert (labels != IGNORE_INDEX).sum() == sum(map(len, documents)) - len(documents)
    starts = (packed["position_ids"] == 0).sum()
    assert starts >= len(documents)


def test_masked_tokens_are_the_labels():
    batch = pad_sequences(random_sequences(lognormal_lengths(16, 64, 0.5), 100), pad_token_id=0)
    masked = mask_tokens(batch, mask_token_id=4)
    is_label = masked["labels"] != IGNORE_INDEX
    assert not is_label[batch["attention_mask"] == 0].any()
    assert 0.08 < is_label.sum() / batch["attention_mask"].sum() < 0.25
    assert (masked["input_ids"][is_label] == 4).all()
    assert (masked["labels"][is_label] == batch["input_ids"][is_label]).all()


def test_sentence_pairs_are_padded_as_by_transformers():
    pairs = random_sentence_pairs([5, 9, 3], 12, 100)
    batch = pad_sentence_pairs(pairs, pad_token_id=0)
    assert batch["attention_mask"].sum(1).tolist() == [5, 9, 3]
    lengths = torch.tensor([len(pair.target) for pair in pairs])
    assert ((batch["labels"] != IGNORE_INDEX).sum(1) == lengths).all()


def test_ours_and_peer_read_the_same_documents():
    step = one_step_batches("packed-lm", 4, 32, 0.4, 100, 0)
    ours = step.ours["input_ids"][step.ours["labels"] != IGNORE_INDEX].sort().values
    # packed labels leave out the first token of a document
    peer = step.peer["labels"].clone()
    peer[:, 0] = IGNORE_INDEX
    assert torch.equal(ours, peer[peer != IGNORE_INDEX].sort().values)
    assert step.tokens == step.peer["attention_mask"].sum()
