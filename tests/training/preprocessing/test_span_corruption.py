"""Span corruption and text infilling: removed spans can be restored, and all other tokens keep their order."""

import numpy as np
import pytest
from transformers import AutoTokenizer

from hf_tfm.training.data.tokenizer import train_tokenizer
from hf_tfm.training.preprocessing.span_corruption import (
    SpanCorruptionCollator,
    add_sentinels,
    random_segments,
    random_spans,
    span_counts,
)
from hf_tfm.training.preprocessing.text_infilling import (
    BartNoisingCollator,
    infill_text,
    permute_sentences,
    poisson_spans,
    sentence_end_ids,
)

IGNORED = -100
TEXTS = ["Return the value of the key, or None. Raises KeyError! Is it so? Version 3.14 (new.) \nYes."]
LENGTHS = [0, 1, 2, 3, 5, 10, 29, 40, 128, 512]


@pytest.fixture(scope="module")
def tokenizer():
    tokenizer = train_tokenizer(TEXTS * 3, vocab_size=300, model_max_length=64)
    tokenizer.add_special_tokens({"mask_token": "<|mask|>"})
    add_sentinels(tokenizer, 60)
    return tokenizer


@pytest.fixture(scope="module")
def sentinels(tokenizer):
    return add_sentinels(tokenizer, 60)


def make_ids(length):
    """Random ids without special tokens."""
    return np.random.default_rng(0).integers(10, 256, length)


def single_row(batch):
    """Input ids and labels of the only row."""
    labels = batch["labels"][0]
    return batch["input_ids"][0][batch["attention_mask"][0].bool()].tolist(), labels[labels != IGNORED].tolist()


def test_sentinels_are_special_in_order_and_leave_others_special(tmp_path):
    tokenizer = train_tokenizer(TEXTS, vocab_size=270, model_max_length=64)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|user|>"]})
    size = len(tokenizer)
    few = add_sentinels(tokenizer, 3)
    many = add_sentinels(tokenizer, 5)
    assert many == list(range(size, size + 5))
    assert few == many[:3]
    assert add_sentinels(tokenizer, 5) == many
    assert len(tokenizer) == size + 5
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert add_sentinels(loaded, 5) == many
    assert len(loaded) == size + 5
    assert {*many, *loaded.convert_tokens_to_ids(["<|user|>"])} <= set(loaded.all_special_ids)
    assert loaded("a<extra_id_1>b").input_ids[1] == many[1]


def merge(inputs, targets, sentinels):
    """The original row: every sentinel of the input is replaced by its span in the target."""
    spans, current = {}, None
    for token in targets[:-1]:
        if token in sentinels:
            current = spans.setdefault(token, [])
        else:
            assert current is not None, "a target must begin with a sentinel"
            current.append(token)
    merged = []
    for token in inputs:
        merged += spans.pop(token) if token in sentinels else [token]
    assert not spans, "a sentinel of the target is not in the input"
    return merged


@pytest.mark.parametrize("rate", [0.0, 0.15, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("mean_span", [1.0, 3.0, 8.0])
def test_input_and_target_merge_to_the_row(tokenizer, rate, mean_span):
    sentinels = add_sentinels(tokenizer, 600)
    collator = SpanCorruptionCollator(tokenizer, sentinels, rate=rate, mean_span=mean_span)
    end = tokenizer.eos_token_id
    for length in LENGTHS:
        words = make_ids(length).tolist()
        for row in (words, [*words, end], [end, *words, end], [end, *words[:7], end, end, *words[7:], end]):
            inputs, targets = single_row(collator([{"input_ids": row}]))
            clean = row if row and row[-1] == end else [*row, end]
            assert merge(inputs, targets, set(sentinels)) == clean
            assert targets[-1] == inputs[-1] == end
            used = [token for token in inputs if token in set(sentinels)]
            assert used == sentinels[: len(used)] == [token for token in targets if token in set(sentinels)]
            dropped = len(targets) - len(used) - 1
            assert dropped == span_counts(length, rate, mean_span)[0]
            assert end not in targets[:-1]
            if row[-1:] == [end]:
                assert len(inputs) <= len(row)


def test_target_has_the_published_format(tokenizer, sentinels):
    """<extra_id_0> span <extra_id_1> span .. eos, without a final sentinel, because the row ends in a span."""
    words = list(range(100, 140))
    inputs, targets = single_row(SpanCorruptionCollator(tokenizer, sentinels)([{"input_ids": words}]))
    assert span_counts(40, 0.15, 3.0) == (6, 2)
    assert inputs[0] == 100
    assert inputs[-2:] == [sentinels[1], tokenizer.eos_token_id]
    assert targets[0] == sentinels[0]
    assert targets[-2:] == [139, tokenizer.eos_token_id]
    assert [token for token in targets if token in sentinels] == sentinels[:2]


@pytest.mark.parametrize("length", LENGTHS)
def test_spans_have_the_published_counts(length):
    """As in T5: round(length * rate) tokens in round(tokens / 3) spans, which alternate with kept spans."""
    mask = random_spans(length, 0.15, 3.0, np.random.default_rng(0))
    if length < 2:
        assert not mask.any()
        return
    dropped = max(1, round(length * 0.15))
    assert mask.sum() == dropped
    assert (np.diff(mask.astype(int), prepend=0) == 1).sum() == max(1, round(dropped / 3))
    assert not mask[0]
    assert mask[-1]


def test_all_segmentations_are_equally_likely():
    counts = {}
    rng = np.random.default_rng(0)
    for _ in range(6000):
        lengths = tuple(random_segments(5, 3, rng).tolist())
        counts[lengths] = counts.get(lengths, 0) + 1
    assert len(counts) == 6
    assert all(sum(lengths) == 5 and min(lengths) == 1 for lengths in counts)
    assert min(counts.values()) > 850
    assert max(counts.values()) < 1150


def test_too_few_sentinels_are_refused_with_both_numbers(tokenizer, sentinels):
    collator = SpanCorruptionCollator(tokenizer, sentinels[:20])
    with pytest.raises(ValueError, match=r"needs 26 sentinels, and there are 20.*add_sentinels\(tokenizer, 26\)"):
        collator([{"input_ids": make_ids(512)}])


def test_a_tokenizer_without_eos_token_is_refused():
    tokenizer = train_tokenizer(TEXTS, vocab_size=300, model_max_length=64)
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="no eos_token"):
        SpanCorruptionCollator(tokenizer, [])


def test_sentence_end_tokens_end_with_a_mark(tokenizer):
    ends = {tokenizer.decode([token]) for token in sentence_end_ids(tokenizer)}
    assert {".", "!", "?"} <= ends
    assert all(any(mark in text for mark in ".!?") for text in ends)


def permuted(tokenizer, ids, epoch=0, **columns):
    collator = BartNoisingCollator(tokenizer, mask_rate=0.0, permute_sentences=1.0)
    collator.set_epoch(epoch)
    inputs, labels = single_row(collator([{"input_ids": ids, **columns}]))
    assert labels == list(ids)
    return inputs


def test_sentences_are_permuted_as_a_whole(tokenizer):
    sentences = [" One of two.", " Is it so?!", " Return the key...", " No end"]
    pieces = [tokenizer(text).input_ids for text in sentences]
    row = [tokenizer.eos_token_id, *(token for piece in pieces for token in piece), tokenizer.eos_token_id]
    orders = set()
    for epoch in range(200):
        text = tokenizer.decode(permuted(tokenizer, row, epoch)[1:-1])
        order = tuple(sorted(sentences, key=text.index))
        assert "".join(order) == text
        orders.add(order)
    assert len(orders) == 24


def test_rows_may_have_a_column_of_sentence_starts(tokenizer):
    row = [tokenizer.eos_token_id, *range(100, 112), tokenizer.eos_token_id]
    seen = set()
    for epoch in range(60):
        inner = permuted(tokenizer, row, epoch, sentence_starts=[1, 4, 9])[1:-1]
        starts = [i for i, token in enumerate(inner) if token in (100, 103, 108)]
        seen.add(tuple(inner))
        assert {tuple(part.tolist()) for part in np.split(np.array(inner), starts[1:])} == {
            (100, 101, 102),
            (103, 104, 105, 106, 107),
            (108, 109, 110, 111),
        }
    assert len(seen) == 6
    assert permuted(tokenizer, row, sentence_starts=[]) == row


def test_no_sentence_crosses_a_special_token(tokenizer):
    end, stop = tokenizer.eos_token_id, tokenizer(".").input_ids[0]
    row = [end, 100, stop, 101, stop, 102, end, 110, stop, 111, stop, end]
    seen = set()
    for epoch in range(100):
        noised = permuted(tokenizer, row, epoch)
        assert [noised[i] for i in (0, 6, 11)] == [end] * 3
        assert sorted(noised[1:6]) == sorted(row[1:6])
        assert sorted(noised[7:11]) == sorted(row[7:11])
        seen.add(tuple(noised))
    assert len(seen) == 12


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_fraction_of_permuted_sentences(fraction):
    ids, rng = np.arange(200), np.random.default_rng(0)
    moved = [(permute_sentences(ids, ids, ids >= 0, fraction, rng) != ids).mean() for _ in range(50)]
    assert np.mean(moved) == pytest.approx(fraction, abs=0.02)


@pytest.mark.parametrize("poisson_lambda", [0.1, 1.0, 3.5, 20.0])
@pytest.mark.parametrize("total", [0, 1, 2, 10, 150])
def test_span_lengths_sum_to_the_total_and_are_not_more_than_it(total, poisson_lambda):
    for seed in range(30):
        lengths = poisson_spans(total, poisson_lambda, np.random.default_rng(seed))
        assert lengths.sum() == total
        assert len(lengths) <= total
        assert (lengths >= 0).all()


def test_span_lengths_are_poisson():
    lengths = poisson_spans(200_000, 3.5, np.random.default_rng(0))
    assert lengths.mean() == pytest.approx(3.5, rel=0.01)
    assert lengths.var() == pytest.approx(3.5, rel=0.02)
    assert (lengths == 0).mean() == pytest.approx(np.exp(-3.5), rel=0.1)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("poisson_lambda", [0.5, 3.5])
@pytest.mark.parametrize("length", LENGTHS)
def test_every_span_is_one_mask_and_the_rest_stays_in_order(length, rate, poisson_lambda):
    """Where tokens are missing, there is a mask; spans without tokens may add others."""
    clean, mask_id = np.arange(100, 100 + length), 7
    for seed in range(20):
        noised = infill_text(clean, np.arange(length), mask_id, rate, poisson_lambda, np.random.default_rng(seed))
        kept = noised[noised != mask_id]
        assert len(kept) == length - round(rate * length)
        assert (np.diff(kept) > 0).all()
        assert len(noised) <= length
        edges = np.concatenate([[99], kept, [100 + length]])
        masks = np.diff(np.flatnonzero(np.concatenate([[True], noised != mask_id, [True]]))) - 1
        assert (masks[np.diff(edges) > 1] > 0).all(), "tokens are missing without a mask"


def test_spans_without_tokens_insert_a_mask():
    """The fraction of masks without a missing token equals the probability of a span of length 0."""
    clean, mask_id = np.arange(100, 100_100), 7
    noised = infill_text(clean, np.arange(len(clean)), mask_id, 0.1, 1.0, np.random.default_rng(0))
    masks = np.flatnonzero(noised == mask_id)
    isolated = masks[(noised[masks - 1] != mask_id) & (noised[masks + 1] != mask_id)]
    missing = noised[isolated + 1] - noised[isolated - 1] - 1
    assert (missing == 0).mean() == pytest.approx(np.exp(-1), abs=0.02)
    assert missing.mean() == pytest.approx(1, abs=0.04)


def test_tokens_away_from_the_ends_have_the_same_probability_of_being_masked():
    """Fewer spans reach the first and the last few tokens."""
    clean, counts = np.arange(100, 200), np.zeros(100)
    for seed in range(2000):
        counts += ~np.isin(clean, infill_text(clean, np.arange(100), 7, 0.3, 3.5, np.random.default_rng(seed)))
    assert counts.mean() / 2000 == pytest.approx(0.3)
    assert counts[10:-10] / 2000 == pytest.approx(0.31, abs=0.04)
    assert counts[:10].sum() == pytest.approx(counts[-10:].sum(), rel=0.05)


def test_special_tokens_within_a_span_are_kept_between_two_masks(tokenizer):
    """All words are masked: the special tokens are left, with one mask for every run of words."""
    end, mask_id = tokenizer.eos_token_id, tokenizer.mask_token_id
    collator = BartNoisingCollator(tokenizer, mask_rate=1.0, poisson_lambda=500.0)
    inputs, labels = single_row(collator([{"input_ids": [end, 100, 101, end, end, 102, 103, end]}]))
    assert inputs == [end, mask_id, end, end, mask_id, end]
    assert labels == [end, 100, 101, end, end, 102, 103, end]


def test_denoising_keeps_specials_and_labels(tokenizer):
    end = tokenizer.eos_token_id
    for length in LENGTHS:
        row = [end, *make_ids(length).tolist(), end]
        inputs, labels = single_row(BartNoisingCollator(tokenizer)([{"input_ids": row}]))
        assert labels == row
        assert inputs[0] == inputs[-1] == end
        assert len(inputs) <= len(row)
        words = [token for token in inputs if token != tokenizer.mask_token_id]
        assert len(words) == len(row) - round(0.3 * length)
        assert not set(words) - set(row)


@pytest.mark.parametrize("settings", [{"mask_rate": 1.1}, {"permute_sentences": -0.1}, {"poisson_lambda": 0.0}])
def test_settings_out_of_range_are_refused(tokenizer, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        BartNoisingCollator(tokenizer, **settings)
