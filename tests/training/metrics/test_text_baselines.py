"""The fast n-gram model equals its definition, and known text costs fewer bits."""

import math
from collections import Counter, defaultdict

import pytest

from hf_tfm.training.metrics.text_baselines import MAX_CONTEXT_BYTES, ngram_bits_per_byte, text_baselines

TRAIN, TEST = b"return the value of the key; return the key of the value", b"the value of a key\xff return"


def slow_ngram_bits(train, test):
    counts = defaultdict(Counter)
    for i, byte in enumerate(train):
        for length in range(min(i, MAX_CONTEXT_BYTES) + 1):
            counts[train[i - length : i]][byte] += 1
    bits = 0.0
    for i, byte in enumerate(test):
        p = 1 / 256
        for length in range(min(i, MAX_CONTEXT_BYTES) + 1):
            seen = counts.get(test[i - length : i])
            if seen:
                p = (seen[byte] + len(seen) * p) / (seen.total() + len(seen))
        bits -= math.log2(p)
    return bits / len(test)


def test_ngram_equals_its_definition():
    assert ngram_bits_per_byte(TRAIN, TEST) == pytest.approx(slow_ngram_bits(TRAIN, TEST), rel=1e-12)


def test_known_text_is_cheaper_than_unknown_text():
    known, unknown = ["Return the value of the key."] * 50, ["Xqj zvw kpf, 9381!"] * 2
    bits_known, bits_unknown = text_baselines(known, known[:2]), text_baselines(known, unknown)
    assert all(bits_known[name] < bits_unknown[name] for name in bits_known)


def test_large_texts_are_left_out():
    assert text_baselines(["x" * 9_000_000], ["x"]) == {}
