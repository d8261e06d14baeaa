"""Attention maps in few bytes, with a known largest error: what the page ships, and the decoder that measures it.

Legend: T queries, S keys, K kept keys per row. `web/decode.js` is the same decoder in JavaScript.

Three codes of one head's map (T, S), all of rows scaled by their largest weight m:
0  "fine": uint16, weight = m q / 65535.
1  "dense": uint8, weight = m (q / 255)**2. The square spends the bytes on small weights.
2  "largest": the K largest of each row as (gap, q) bytes, weight = m (q / 255)**2; what is left of the row's sum is
   spread evenly over the visible keys that are not kept. A gap counts the keys since the last kept one; 255 stands for
   255 keys without a kept one.
"""

import zlib
from dataclasses import dataclass

import numpy as np

__all__ = ["CompressedMap", "compress_map", "decode_map", "kept_keys"]

FINE, DENSE, LARGEST = 0, 1, 2
MAX_KEPT = 64
MIN_KEPT = 4
ESCAPE = 255


@dataclass
class CompressedMap:
    """One head: `data` is a zlib stream; `kept` is K, 0 for the other codes; `error`: largest absolute error."""

    code: int
    kept: int
    error: float
    data: bytes


def kept_keys(rows: int, width: int, budget: int) -> int:
    """How many keys of each row fit into `budget` bytes of base64: 2 bytes each and 4 for a row, before zlib.
    Raises ValueError if fewer than 4 fit."""
    kept = int((budget * 3 / 4 / rows - 4) // 2)
    if kept < MIN_KEPT:
        raise ValueError(
            f"{rows} rows of attention do not fit into {budget} bytes: {MIN_KEPT} keys of each need "
            f"{rows * (2 * MIN_KEPT + 4) * 4 // 3}. Take fewer tokens or layers (--max_tokens, --layers)."
        )
    return min(kept, MAX_KEPT, width + width // ESCAPE)


def compress_map(weights: np.ndarray, visible: np.ndarray, kept: int, fine: bool) -> CompressedMap:
    """The code "fine", or the smaller one of "dense" and "largest". `weights` (T, S) float32, `visible` (T, S) bool."""
    code = FINE if fine else LARGEST
    raw = encode_dense(weights, FINE) if fine else encode_largest(weights, visible, kept)
    data = zlib.compress(raw, 6)
    if not fine and dense_bytes(weights) < len(data):
        code, kept, raw = DENSE, 0, encode_dense(weights, DENSE)
        data = zlib.compress(raw, 6)
    error = np.abs(decode_map(raw, code, kept, visible) - weights).max(initial=0)
    return CompressedMap(code, kept, float(error), data)


def dense_bytes(weights: np.ndarray) -> int:
    """Size of the code "dense", estimated from every eighth row, which is fast."""
    sample = weights[::8]
    return len(zlib.compress(encode_dense(sample, DENSE), 6)) * len(weights) // len(sample)


def row_maxima(weights: np.ndarray) -> np.ndarray:
    """Largest weight of each row (T,), rounded up to float16."""
    largest = weights.max(-1).astype(np.float32)
    half = largest.astype(np.float16)
    return np.where(half.astype(np.float32) < largest, np.nextafter(half, np.float16(2)), half).astype(np.float16)


def quantised(weights: np.ndarray, largest: np.ndarray, code: int) -> np.ndarray:
    """q of every weight, by the row's largest."""
    scale = largest.astype(np.float32)[:, None]
    share = np.divide(weights, scale, out=np.zeros_like(weights, dtype=np.float32), where=scale > 0).clip(0, 1)
    return np.rint(share * 65535).astype("<u2") if code == FINE else np.rint(np.sqrt(share) * 255).astype(np.uint8)


def encode_dense(weights: np.ndarray, code: int) -> bytes:
    largest = row_maxima(weights)
    return largest.astype("<f2").tobytes() + quantised(weights, largest, code).tobytes()


def encode_largest(weights: np.ndarray, visible: np.ndarray, kept: int) -> bytes:
    length, width = weights.shape
    # room for the escapes, which take places of their own
    count = min(kept - width // ESCAPE, width)
    # hidden keys last and in order, so that rows with few visible keys compress
    order = np.where(visible, weights, -1.0 - np.arange(width, dtype=np.float32))
    chosen = np.sort(np.argpartition(-order, count - 1, axis=-1)[:, :count], axis=-1)
    largest = row_maxima(weights)
    values = quantised(np.take_along_axis(weights, chosen, -1), largest, LARGEST)
    unkept = weights.astype(np.float64)
    np.put_along_axis(unkept, chosen, 0, -1)
    gaps = np.diff(chosen, axis=-1, prepend=-1) - 1
    places = np.arange(count) + np.cumsum(gaps // ESCAPE, axis=-1)
    gap_bytes, value_bytes = np.full((length, kept), ESCAPE, np.uint8), np.zeros((length, kept), np.uint8)
    np.put_along_axis(gap_bytes, places, (gaps % ESCAPE).astype(np.uint8), -1)
    np.put_along_axis(value_bytes, places, values, -1)
    rest = unkept.sum(-1).astype("<f2")
    return largest.astype("<f2").tobytes() + rest.tobytes() + gap_bytes.tobytes() + value_bytes.tobytes()


def decode_map(raw: bytes, code: int, kept: int, visible: np.ndarray) -> np.ndarray:
    """Weights (T, S) float32 from an inflated stream."""
    length, width = visible.shape
    largest = np.frombuffer(raw, "<f2", length).astype(np.float32)[:, None]
    if code == FINE:
        return largest * np.frombuffer(raw, "<u2", offset=2 * length).reshape(length, width) / 65535
    if code == DENSE:
        return largest * (np.frombuffer(raw, np.uint8, offset=2 * length).reshape(length, width) / 255.0) ** 2
    rest = np.frombuffer(raw, "<f2", length, 2 * length).astype(np.float32)
    gaps, values = np.frombuffer(raw, np.uint8, offset=4 * length).reshape(2, length, kept)
    # an entry advances by its gap and itself, an escape by 255 keys
    keys = np.cumsum(np.where(gaps == ESCAPE, ESCAPE, gaps.astype(np.int64) + 1), axis=-1) - 1
    weights = np.full((length, width), np.nan, np.float32)
    row, column = np.nonzero((gaps != ESCAPE) & (keys < width))
    weights[row, keys[row, column]] = largest[row, 0] * (values[row, column] / 255.0) ** 2
    spread = np.isnan(weights) & visible
    share = rest / np.maximum(spread.sum(-1), 1)
    return np.where(np.isnan(weights), np.where(spread, share[:, None], 0), weights)
