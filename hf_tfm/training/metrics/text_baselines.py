"""What simple methods reach on the same text, in bits per byte: the marks that a model must pass to be worth its name.

Both see the training split first and are measured on the test split, documents joined by a zero byte."""

import lzma

import numpy as np

__all__ = ["ngram_bits_per_byte", "text_baselines", "xz_bits_per_byte"]

# Larger texts would take longer than they are worth.
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
    """Bits per byte that `test_bytes` adds to the size of `train_bytes` when both are compressed as one."""
    before, after = (len(lzma.compress(text, preset=9)) for text in (train_bytes, train_bytes + test_bytes))
    return 8 * (after - before) / len(test_bytes)


def ngram_bits_per_byte(train_bytes: bytes, test_bytes: bytes) -> float:
    """Bits per byte of a byte n-gram with Witten-Bell smoothing.

    From the empty context to the five bytes before, a context seen n times with t different followers changes the
    probability p of a byte that followed it c times to (c + t p) / (n + t); an unseen context changes nothing."""
    train_array, test_array = (
        np.frombuffer(text, dtype=np.uint8).astype(np.int64) for text in (train_bytes, test_bytes)
    )
    probability = np.full(len(test_bytes), 1 / 256)
    for length in range(MAX_CONTEXT_BYTES + 1):
        pairs, times = np.unique(context_codes(train_array, length), return_counts=True)
        contexts, start, followers = np.unique(pairs >> 8, return_index=True, return_counts=True)
        totals = np.add.reduceat(times, start)
        queries = context_codes(test_array, length)
        c = lookup(queries, pairs, times)
        n, t = (lookup(queries >> 8, contexts, values) for values in (totals, followers))
        tail = probability[length:]
        probability[length:] = np.where(n > 0, (c + t * tail) / np.maximum(n + t, 1), tail)
    return float(-np.log2(probability).mean())


def context_codes(text: np.ndarray, length: int) -> np.ndarray:
    """For each byte with `length` bytes before it, these and itself as one number of 8 (length + 1) bits."""
    codes = np.zeros(max(0, len(text) - length), dtype=np.int64)
    for offset in range(length + 1):
        codes = codes << 8 | text[offset : offset + len(codes)]
    return codes


def lookup(queries: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The value of each query, 0 where it is not among the sorted `keys`."""
    at = np.searchsorted(keys, queries).clip(max=len(keys) - 1)
    return np.where(keys[at] == queries, values[at], 0)
