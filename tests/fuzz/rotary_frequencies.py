"""Rotary frequencies of every scaling, written from the papers, in float64. Part of the reference."""

import math
from typing import Any

Speeds = tuple[list[float], float]


def frequencies(parameters: dict[str, Any], head_dim: int, longest: int, length: int) -> Speeds:
    """Angle per token of each pair of elements, and the factor of cosines and sines. `longest`:
    max_position_embeddings; `length`: tokens of the row."""
    share = parameters.get("partial_rotary_factor", 1.0)
    base, kind = parameters["rope_theta"], parameters["rope_type"]
    size = int(head_dim * share)
    plain = [base ** (-2 * k / size) for k in range(size // 2)]
    factor: Any = parameters.get("factor")
    if kind == "default":
        return plain, 1.0
    if kind == "linear":  # Chen et al. 2023, arXiv:2306.15595
        return [speed / factor for speed in plain], 1.0
    if kind == "proportional":  # Gemma 3n: a share of the pairs turns, all have the frequencies of the whole head
        turning = int(share * head_dim // 2)
        speeds = [base ** (-2 * k / head_dim) / (factor or 1.0) for k in range(turning)]
        return speeds + [0.0] * (head_dim // 2 - turning), 1.0
    if kind == "dynamic":  # NTK-aware, from the length at hand
        stretch = factor * max(length, longest) / longest - (factor - 1)
        base = base * stretch ** (size / (size - 2))
        return [base ** (-2 * k / size) for k in range(size // 2)], 1.0
    if kind == "longrope":
        return longrope(parameters, plain, longest, length)
    return {"yarn": yarn, "llama3": llama3}[kind](parameters, plain, size)


def longrope(parameters: dict[str, Any], plain: list[float], longest: int, length: int) -> Speeds:
    """Ding et al. 2024, arXiv:2402.13753: a factor per pair, other ones beyond the original length."""
    original = parameters["original_max_position_embeddings"]
    factors = parameters["long_factor" if length > original else "short_factor"]
    factor = parameters.get("factor") or longest / original
    attention = parameters.get("attention_factor")
    if attention is None:
        attention = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))
    return [speed / slower for speed, slower in zip(plain, factors, strict=True)], attention


def yarn(parameters: dict[str, Any], plain: list[float], size: int) -> Speeds:
    """Peng et al. 2023, arXiv:2309.00071: fast pairs stay, slow ones are divided by the factor, a ramp between."""
    factor, original = parameters["factor"], parameters["original_max_position_embeddings"]

    def pair_of(turns: float) -> float:
        """The pair that makes so many turns within the original length."""
        return size * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(parameters["rope_theta"]))

    low, high = pair_of(parameters.get("beta_fast") or 32), pair_of(parameters.get("beta_slow") or 1)
    if parameters.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, size - 1)
    high = high + 0.001 if low == high else high
    ramp = [min(1.0, max(0.0, (k - low) / (high - low))) for k in range(size // 2)]
    speeds = [speed / factor * r + speed * (1 - r) for speed, r in zip(plain, ramp, strict=True)]

    def scale(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    mscale, of_all = parameters.get("mscale"), parameters.get("mscale_all_dim")
    attention = scale(mscale) / scale(of_all) if mscale and of_all else scale(1.0)
    return speeds, parameters.get("attention_factor") or attention


def llama3(parameters: dict[str, Any], plain: list[float], size: int) -> Speeds:
    """Llama Team 2024, arXiv:2407.21783: by wavelength; short ones stay, long ones are divided, between them a mix."""
    factor, original = parameters["factor"], parameters["original_max_position_embeddings"]
    low, high = parameters["low_freq_factor"], parameters["high_freq_factor"]
    speeds = []
    for speed in plain:
        length = 2 * math.pi / speed
        if length < original / high:
            speeds.append(speed)
        elif length > original / low:
            speeds.append(speed / factor)
        else:
            kept = (original / length - low) / (high - low)
            speeds.append((1 - kept) * speed / factor + kept * speed)
    return speeds, 1.0
