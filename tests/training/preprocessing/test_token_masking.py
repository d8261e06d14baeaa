"""Noise depends only on seed, epoch and content; masks have the documented fractions, words, spans and specials."""

import copy
import pickle
import time
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from hf_tfm.training.data.tokenizer import train_tokenizer
from hf_tfm.training.preprocessing.noising_collator import row_generator
from hf_tfm.training.preprocessing.span_corruption import SpanCorruptionCollator, add_sentinels
from hf_tfm.training.preprocessing.text_infilling import BartNoisingCollator
from hf_tfm.training.preprocessing.token_masking import MaskedLMCollator, MaskingUnit, geometric_edges, word_ids_of

IGNORED = -100
UNITS: tuple[MaskingUnit, ...] = get_args(MaskingUnit)
TEXTS = [
    "Return the value of the key, or None if there is no such key.\nRaises KeyError!",
    "This module defines classes.  It has no functions.\n\n    >>> configuration = make(17)",
    "Unbelievably extraordinary words come in several pieces; short ones do not.",
]


@pytest.fixture(scope="module")
def tokenizer():
    tokenizer = train_tokenizer(TEXTS * 3, vocab_size=330, model_max_length=64)
    tokenizer.add_special_tokens({"mask_token": "<|mask|>"})
    add_sentinels(tokenizer, 40)
    return tokenizer


def make_rows(tokenizer, count=40):
    """Rows of different lengths, each between two end-of-text tokens."""
    end = [tokenizer.eos_token_id]
    rows = []
    for number in range(count):
        encoding = tokenizer(f"{number} " + TEXTS[number % len(TEXTS)] * (1 + number % 4))
        rows.append({"input_ids": end + encoding.input_ids + end, "word_ids": [-1, *word_ids_of(encoding), -1]})
    return rows


def make_collators(tokenizer, **settings):
    """Every collator, by name."""
    masking = {unit: MaskedLMCollator(tokenizer, unit=unit, **settings) for unit in UNITS}
    return masking | {
        "t5": SpanCorruptionCollator(tokenizer, add_sentinels(tokenizer, 40), **settings),
        "bart": BartNoisingCollator(tokenizer, **settings),
    }


COLLATORS = [*UNITS, "t5", "bart"]


@pytest.fixture(params=COLLATORS)
def collator(request, tokenizer):
    return make_collators(tokenizer, seed=3)[request.param]


def unpadded(batch):
    """Input ids and labels of every row without padding, as lists."""
    columns = zip(batch["input_ids"], batch["attention_mask"].bool(), batch["labels"], strict=True)
    return [(ids[mask].tolist(), labels[labels != IGNORED].tolist()) for ids, mask, labels in columns]


def equal(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_random_numbers_of_a_row_are_fixed():
    """Other numbers would change the masks of resumed runs."""
    assert row_generator(1, 2, [3, 4, 5]).bit_generator.random_raw(2).tolist() == [
        14798310089955869857,
        4205545545580656579,
    ]


@pytest.mark.parametrize("other", [(2, 2, [3, 4, 5]), (1, 3, [3, 4, 5]), (1, 2, [3, 4]), (1, 2, [5, 4, 3]), (1, 2, [])])
def test_random_numbers_depend_on_seed_epoch_and_content(other):
    assert row_generator(1, 2, [3, 4, 5]).random() != row_generator(*other).random()
    assert row_generator(1, 2, [3, 4, 5]).random() == row_generator(1, 2, np.array([3, 4, 5], np.int32)).random()


def test_noise_of_a_row_does_not_depend_on_its_batch(collator, tokenizer):
    rows = make_rows(tokenizer)
    together = unpadded(collator(rows))
    assert together == [unpadded(collator([row]))[0] for row in rows]
    assert together[::-1] == unpadded(collator(rows[::-1]))
    assert together == unpadded(collator(rows)), "the second call differs from the first"


def test_noise_changes_with_epoch_and_seed_and_is_reproducible(collator, tokenizer):
    rows = make_rows(tokenizer)
    first = collator(rows)
    collator.set_epoch(1)
    second = collator(rows)
    collator.set_epoch(0)
    assert not equal(first, second)
    assert equal(first, collator(rows))
    collator.seed = 4
    assert not equal(first, collator(rows))


@pytest.mark.parametrize("name", COLLATORS)
def test_fixed_noise_differs_from_every_epoch(name, tokenizer):
    rows = make_rows(tokenizer)
    fixed, changing = make_collators(tokenizer, fixed=True)[name], make_collators(tokenizer)[name]
    expected = fixed(rows)
    for epoch in range(3):
        fixed.set_epoch(epoch)
        changing.set_epoch(epoch)
        assert equal(fixed(rows), expected)
        assert not equal(changing(rows), expected)


def test_collator_can_be_pickled_and_copied(collator, tokenizer):
    rows = make_rows(tokenizer)
    collator.set_epoch(5)
    for other in (pickle.loads(pickle.dumps(collator)), copy.deepcopy(collator)):
        assert equal(other(rows), collator(rows))
        assert other.epoch.is_shared(), "loader workers of the copy would not see its epochs"
        other.set_epoch(6)
        assert int(collator.epoch) == 5


def batches_of(collator, rows: Any, workers, context):
    """Rows of epochs 0, 1 and 4 from a loader with persistent workers, and directly from the collator."""
    loader = DataLoader(
        rows, 7, collate_fn=collator, num_workers=workers, persistent_workers=True, multiprocessing_context=context
    )
    for epoch in (0, 1, 4):
        collator.set_epoch(epoch)
        yield [row for batch in loader for row in unpadded(batch)], unpadded(collator(rows))


@pytest.mark.parametrize("workers", [1, 2])
def test_running_loader_workers_see_the_epoch(collator, tokenizer, workers):
    for loaded, expected in batches_of(collator, make_rows(tokenizer), workers, "fork"):
        assert loaded == expected


def test_spawned_workers_give_the_same_noise(tokenizer):
    """Spawned workers import everything again, with another hash seed."""
    for loaded, expected in batches_of(MaskedLMCollator(tokenizer, unit="span"), make_rows(tokenizer), 1, "spawn"):
        assert loaded == expected


def test_batch_has_the_documented_shape(tokenizer):
    for collator in make_collators(tokenizer, pad_to_multiple_of=16).values():
        batch = collator(make_rows(tokenizer))
        for column in batch.values():
            assert column.dtype == torch.long
            assert column.shape[1] % 16 == 0
        padding = batch["attention_mask"] == 0
        assert batch["input_ids"].shape == batch["attention_mask"].shape
        assert (batch["input_ids"][padding] == tokenizer.pad_token_id).all()
        assert (batch["attention_mask"].diff(dim=1) <= 0).all(), "padding must be on the right"
        assert (batch["labels"][:, -1] == IGNORED).any()


@pytest.mark.parametrize("length", range(4))
def test_short_and_empty_rows_are_valid(collator, tokenizer, length):
    end, words = tokenizer.eos_token_id, [270, 271, 272][:length]
    for has_ends in (True, False):
        ids = [end, *words, end] if has_ends else words
        row = {"input_ids": ids, "word_ids": [-1, *range(length), -1] if has_ends else list(range(length))}
        for epoch in range(20):
            collator.set_epoch(epoch)
            [(noised, _), second] = unpadded(collator([row, row]))
            assert second[0] == noised
            added = isinstance(collator, SpanCorruptionCollator) and not has_ends
            assert noised.count(end) == 2 * has_ends + added


def test_special_tokens_never_change(collator, tokenizer):
    """Special tokens within the row, of the tokenizer or of special_tokens_mask, are kept."""
    end, marked = tokenizer.eos_token_id, 300
    for number in range(100):
        words = [260 + (number + i) % 30 for i in range(30)]
        ids = [end, *words[:7], end, *words[7:9], marked, *words[9:], end]
        special = [int(i in (end, marked)) for i in ids]
        row = {"input_ids": ids, "special_tokens_mask": special, "word_ids": range(len(ids))}
        [(noised, _)] = unpadded(collator([row]))
        # A random token may equal the marked one, which is not a special token of the tokenizer.
        assert [i for i in noised if i == end] == [end] * 3
        assert marked in noised


def test_rows_are_not_changed_in_place(collator, tokenizer):
    rows = [{name: np.array(column) for name, column in row.items()} for row in make_rows(tokenizer)]
    collator(rows)
    assert [row["input_ids"].tolist() for row in rows] == [row["input_ids"] for row in make_rows(tokenizer)]


def test_noise_is_fast(collator, tokenizer):
    """32 rows of 512 tokens take less time than a training step."""
    words = np.repeat(np.arange(256), 2)
    rows = [{"input_ids": np.random.default_rng(i).integers(2, 256, 512), "word_ids": words} for i in range(32)]
    times = []
    for _ in range(5):
        start = time.perf_counter()
        collator(rows)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.05, f"{min(times) * 1000:.0f} ms"


@pytest.mark.parametrize("unit", UNITS)
def test_labels_are_the_clean_tokens_at_selected_positions_only(tokenizer, unit):
    rows = make_rows(tokenizer)
    batch = MaskedLMCollator(tokenizer, unit=unit)(rows)
    for row, ids, labels in zip(rows, batch["input_ids"], batch["labels"], strict=True):
        clean = torch.tensor(row["input_ids"])
        ids, labels = ids[: len(clean)], labels[: len(clean)]
        selected = labels != IGNORED
        assert selected.any()
        assert torch.equal(labels[selected], clean[selected])
        assert torch.equal(ids[~selected], clean[~selected])
        assert not selected[[0, -1]].any()
    assert (batch["labels"][batch["attention_mask"] == 0] == IGNORED).all()


@pytest.mark.parametrize("rate", [0.0, 0.15, 0.4, 1.0])
@pytest.mark.parametrize("unit", ["token", "span"])
def test_number_of_selected_tokens_is_exact(tokenizer, rate, unit):
    for row in make_rows(tokenizer):
        row.pop("word_ids")
        labels = MaskedLMCollator(tokenizer, rate=rate, unit=unit)([row])["labels"]
        assert int((labels != IGNORED).sum()) == max(1, round(rate * (len(row["input_ids"]) - 2)))


@pytest.mark.parametrize("unit", ["whole_word", "span"])
def test_words_are_never_split_and_the_rate_holds_on_average(tokenizer, unit):
    """Word ids restart in the middle of every row, as in pairs."""
    collator = MaskedLMCollator(tokenizer, unit=unit)
    num_selected = expected = 0
    rows = make_rows(tokenizer, 60)
    rows = [{name: row[name][:-1] + other[name] for name in row} for row, other in zip(rows, rows[::-1], strict=True)]
    for epoch in range(20):
        collator.set_epoch(epoch)
        batch = collator(rows)
        for row, labels in zip(rows, batch["labels"], strict=True):
            words, ids = np.array(row["word_ids"]), np.array(row["input_ids"])
            selected = labels[: len(words)].numpy() != IGNORED
            same = (words[1:] == words[:-1]) & (words[1:] >= 0)
            assert (selected[1:] == selected[:-1])[same].all()
            assert not selected[ids == tokenizer.eos_token_id].any()
            num_selected, expected = num_selected + selected.sum(), expected + round(0.15 * (words >= 0).sum())
    assert num_selected / expected == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("unit", ["token", "whole_word"])
def test_every_unit_has_the_same_probability(tokenizer, unit):
    """Long words would be rare if the words that exceed the count were skipped."""
    sizes = [1, 1, 4, 1, 2, 1, 3, 1, 1, 5]
    words = np.repeat(np.arange(len(sizes)), sizes)
    ids = 260 + np.arange(len(words))
    collator = MaskedLMCollator(tokenizer, unit=unit, rate=0.4)
    counts = np.zeros(len(words))
    for seed in range(3000):
        collator.seed = seed
        counts += collator([{"input_ids": ids, "word_ids": words}])["labels"][0].numpy() != IGNORED
    frequency = counts / 3000
    assert frequency.mean() == pytest.approx(0.4, abs=0.01)
    assert frequency.min() > (0.36 if unit == "token" else 0.3)
    assert frequency.max() < (0.44 if unit == "token" else 0.5)


@pytest.mark.parametrize("unit", UNITS)
def test_fractions_of_masked_random_and_unchanged_tokens(tokenizer, unit):
    collator = MaskedLMCollator(tokenizer, unit=unit, rate=0.3)
    masked = unchanged = total = 0
    randomized = []
    for epoch in range(60):
        collator.set_epoch(epoch)
        batch = collator(make_rows(tokenizer))
        selected = batch["labels"] != IGNORED
        ids, labels = batch["input_ids"][selected], batch["labels"][selected]
        masked += int((ids == tokenizer.mask_token_id).sum())
        unchanged += int((ids == labels).sum())
        randomized += ids[(ids != tokenizer.mask_token_id) & (ids != labels)].tolist()
        total += len(ids)
    assert masked / total == pytest.approx(0.8, abs=0.012)
    assert unchanged / total == pytest.approx(0.1, abs=0.012)
    assert not set(randomized) & set(tokenizer.all_special_ids)
    assert len(set(randomized)) > 0.9 * (len(tokenizer) - len(tokenizer.all_special_ids)), "too few different tokens"


@pytest.mark.parametrize("mean", [1.0, 3.0, 3.8, 5.5])
def test_span_lengths_have_the_requested_mean(tokenizer, mean):
    probabilities = np.diff(geometric_edges(mean), prepend=0, append=1)
    assert len(probabilities) == 10
    assert probabilities @ np.arange(1, 11) == pytest.approx(mean)
    # SpanBERT's geometric distribution has p = 0.2 and, according to the paper, the mean 3.8.
    assert mean != 3.8 or probabilities[1:] / probabilities[:-1] == pytest.approx(0.8, abs=0.001)
    # With a low rate, the spans of a long row rarely touch, so that their lengths can be counted.
    collator = MaskedLMCollator(tokenizer, unit="span", mean_span=mean, rate=0.02)
    selected = collator([{"input_ids": np.arange(20_000) % 200 + 20}])["labels"][0].numpy() != IGNORED
    spans = (np.diff(selected.astype(int), prepend=0) == 1).sum()
    assert selected.sum() / spans == pytest.approx(mean, rel=0.2)


def test_tokens_of_a_span_are_replaced_the_same_way(tokenizer):
    """Half of the spans are masked and half unchanged, and few spans touch, so nearly every run is of one type."""
    collator = MaskedLMCollator(tokenizer, unit="span", mean_span=5.5, rate=0.01, replace=(0.5, 0.0))
    ids = np.arange(20_000) % 200 + 20
    batch = collator([{"input_ids": ids}])
    selected, masked = (
        (batch["labels"][0] != IGNORED).numpy(),
        (batch["input_ids"][0] == tokenizer.mask_token_id).numpy(),
    )
    changes = (masked[1:] != masked[:-1])[selected[1:] & selected[:-1]].mean()
    assert 0.3 < masked[selected].mean() < 0.7
    assert changes < 0.02, "only adjacent spans may differ"


def test_spans_do_not_cross_special_tokens(tokenizer):
    """Every second token is special, so that every span has one token."""
    ids = [270, tokenizer.eos_token_id] * 200
    collator = MaskedLMCollator(tokenizer, unit="span", mean_span=5.0, rate=0.3, replace=(0.5, 0.0))
    batch = collator([{"input_ids": ids}])
    selected = batch["labels"][0] != IGNORED
    assert int(selected.sum()) == 60
    masked = batch["input_ids"][0][selected] == tokenizer.mask_token_id
    assert 12 < int(masked.diff().count_nonzero()) < 48, "neighbours are replaced together"


def test_word_ids_mark_special_tokens(tokenizer):
    encoding = tokenizer(["Return the value!\n", "x"])
    assert word_ids_of(encoding, 1) == [0]
    words, tokens = word_ids_of(encoding), encoding.tokens(0)
    for before, after, token in zip(words, words[1:], tokens[1:], strict=False):
        assert (after > before) == token.startswith(("Ġ", "!", "Ċ"))
    assert word_ids_of(SimpleNamespace(word_ids=lambda row: [None, 0, 0, 1, None])) == [-1, 0, 0, 1, -1]


@pytest.mark.parametrize("settings", [{"rate": 1.5}, {"unit": "word"}, {"mean_span": 6.0}, {"replace": (0.8, 0.3)}])
def test_settings_out_of_range_are_refused(tokenizer, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        MaskedLMCollator(tokenizer, **settings)


def test_missing_tokens_and_words_are_refused(tokenizer):
    with pytest.raises(ValueError, match=r'no mask_token.*"<\|mask\|>"'):
        MaskedLMCollator(train_tokenizer(TEXTS, 258, 8))
    with pytest.raises(ValueError, match="word_ids_of"):
        MaskedLMCollator(tokenizer, unit="whole_word")([{"input_ids": [270, 271]}])
