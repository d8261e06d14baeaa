"""Baselines of language models without a neural network, fitted to the training split and measured on the test split: a
byte n-gram model and the compressor xz, in bits per byte, with documents joined by a zero byte; the frequencies of
tokens, in nats per token."""

import lzma

import numpy as np

__all__ = ["ngram_bits_per_byte", "text_baselines", "unigram_nats_per_token", "xz_bits_per_byte"]

# Larger texts would take minutes.
MAX_BYTES = 8_000_000
MAX_CONTEXT_BYTES = 5


def text_baselines(train: list[str], test: list[str]) -> dict[str, float]:
    """Bits per byte of `test`, by name of the method; empty for texts above 8 MB."""
    train_bytes, test_bytes = ("\0".join(texts).encode() for texts in (train, test))
    if len(train_bytes) + len(test_bytes) > MAX_BYTES:
        return {}
    return {
        f"byte {MAX_CONTEXT_BYTES + 1}-gram": ngram_bits_per_byte(train_bytes, test_bytes),
        "xz": xz_bits_per_byte(train_bytes, test_bytes),
    }


def xz_bits_per_byte(train_bytes: bytes, test_bytes: bytes) -> float:
    """Bits per byte that `test_bytes` adds to the compressed size of `train_bytes`."""
    before, after = (len(lzma.compress(text, preset=9)) for text in (train_bytes, train_bytes + test_bytes))
    return 8 * (after - before) / len(test_bytes)


def ngram_bits_per_byte(train_bytes: bytes, test_bytes: bytes) -> float:
    """Bits per byte of a byte n-gram model with Witten-Bell smoothing.

    Context lengths go from 0 to 5 bytes. A context that occurred n times with t different next bytes, of which this
    byte c times, changes its probability p to (c + t p) / (n + t); an unseen context changes nothing."""
    train_array, test_array = (
        np.frombuffer(text, dtype=np.uint8).astype(np.int64) for text in (train_bytes, test_bytes)
    )
    probability = np.full(len(test_bytes), 1 / 256)
    for length in range(MAX_CONTEXT_BYTES + 1):
        ngrams, counts = np.unique(ngram_codes(train_array, length), return_counts=True)
        contexts, start, distinct = np.unique(ngrams >> 8, return_index=True, return_counts=True)
        totals = np.add.reduceat(counts, start)
        queries = ngram_codes(test_array, length)
        c = lookup(queries, ngrams, counts)
        n = lookup(queries >> 8, contexts, totals)
        t = lookup(queries >> 8, contexts, distinct)
        p = probability[length:]
        probability[length:] = np.where(n > 0, (c + t * p) / np.maximum(n + t, 1), p)
    return float(-np.log2(probability).mean())


def ngram_codes(text: np.ndarray, length: int) -> np.ndarray:
    """Each byte with the `length` bytes before it, as one number of 8 (length + 1) bits."""
    codes = np.zeros(max(0, len(text) - length), dtype=np.int64)
    for offset in range(length + 1):
        codes = codes << 8 | text[offset : offset + len(codes)]
    return codes


def lookup(queries: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The value of each query, 0 if it is not among the sorted `keys`."""
    at = np.searchsorted(keys, queries).clip(max=len(keys) - 1)
    return np.where(keys[at] == queries, values[at], 0)


def unigram_nats_per_token(train_counts: np.ndarray, test_counts: np.ndarray) -> float:
    """Nats per token of a test split by the frequencies of a training split, from how often each has each token of the
    vocabulary, (V,). One is added to each training count, so that no token is impossible (Laplace)."""
    probability = (train_counts + 1) / (train_counts + 1).sum()
    return float(-(test_counts * np.log(probability)).sum() / test_counts.sum())
