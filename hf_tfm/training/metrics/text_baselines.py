"""What simple methods reach on the same text, in bits per byte: the marks that a model must pass to be worth its name.

Both see the training split first and are measured on the test split, documents joined by a zero byte."""

import lzma

import numpy as np

__all__ = ["measure_baselines", "ngram_bits", "xz_bits"]

# Larger texts would take longer than they are worth.
MOST_BYTES = 8_000_000
LONGEST_CONTEXT = 5


def measure_baselines(train: list[str], test: list[str]) -> dict[str, float]:
    """Bits per byte of `test`, by name of the method; empty for texts above 8 MB."""
    learnt, scored = ("\0".join(texts).encode() for texts in (train, test))
    if len(learnt) + len(scored) > MOST_BYTES:
        return {}
    return {f"byte {LONGEST_CONTEXT + 1}-gram": ngram_bits(learnt, scored), "xz": xz_bits(learnt, scored)}


def xz_bits(learnt: bytes, scored: bytes) -> float:
    """Bits per byte that `scored` adds to the size of `learnt` when both are compressed as one."""
    before, after = (len(lzma.compress(text, preset=9)) for text in (learnt, learnt + scored))
    return 8 * (after - before) / len(scored)


def ngram_bits(learnt: bytes, scored: bytes) -> float:
    """Bits per byte of a byte n-gram with Witten-Bell smoothing.

    From the empty context to the five bytes before, a context seen n times with t different followers changes the
    probability p of a byte that followed it c times to (c + t p) / (n + t); an unseen context changes nothing."""
    bytes_learnt, bytes_scored = (np.frombuffer(text, dtype=np.uint8).astype(np.int64) for text in (learnt, scored))
    probability = np.full(len(scored), 1 / 256)
    for length in range(LONGEST_CONTEXT + 1):
        pairs, times = np.unique(windows(bytes_learnt, length), return_counts=True)
        contexts, start, followers = np.unique(pairs >> 8, return_index=True, return_counts=True)
        totals = np.add.reduceat(times, start)
        asked = windows(bytes_scored, length)
        c = look_up(asked, pairs, times)
        n, t = (look_up(asked >> 8, contexts, values) for values in (totals, followers))
        tail = probability[length:]
        probability[length:] = np.where(n > 0, (c + t * tail) / np.maximum(n + t, 1), tail)
    return float(-np.log2(probability).mean())


def windows(text: np.ndarray, length: int) -> np.ndarray:
    """For each byte with `length` bytes before it, these and itself as one number of 8 (length + 1) bits."""
    codes = np.zeros(max(0, len(text) - length), dtype=np.int64)
    for offset in range(length + 1):
        codes = codes << 8 | text[offset : offset + len(codes)]
    return codes


def look_up(asked: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The value of each asked key, 0 where it is not among the sorted `keys`."""
    at = np.searchsorted(keys, asked).clip(max=len(keys) - 1)
    return np.where(keys[at] == asked, values[at], 0)
