"""The fast n-gram equals its definition, and both marks behave."""

import math
from collections import Counter, defaultdict

import pytest

from hf_tfm.training.metrics.text_baselines import MAX_CONTEXT_BYTES, ngram_bits_per_byte, text_baselines

LEARNT, SCORED = b"return the value of the key; return the key of the value", b"the value of a key\xff return"


def slow_ngram_bits(learnt, scored):
    counts = defaultdict(Counter)
    for i, byte in enumerate(learnt):
        for length in range(min(i, MAX_CONTEXT_BYTES) + 1):
            counts[learnt[i - length : i]][byte] += 1
    bits = 0.0
    for i, byte in enumerate(scored):
        p = 1 / 256
        for length in range(min(i, MAX_CONTEXT_BYTES) + 1):
            seen = counts.get(scored[i - length : i])
            if seen:
                p = (seen[byte] + len(seen) * p) / (seen.total() + len(seen))
        bits -= math.log2(p)
    return bits / len(scored)


def test_ngram_equals_its_definition():
    assert ngram_bits_per_byte(LEARNT, SCORED) == pytest.approx(slow_ngram_bits(LEARNT, SCORED), rel=1e-12)


def test_known_text_is_cheaper_than_unknown_text():
    known, unknown = ["Return the value of the key."] * 50, ["Xqj zvw kpf, 9381!"] * 2
    cheap, dear = text_baselines(known, known[:2]), text_baselines(known, unknown)
    assert all(cheap[name] < dear[name] for name in cheap)


def test_large_texts_are_left_out():
    assert text_baselines(["x" * 9_000_000], ["x"]) == {}
