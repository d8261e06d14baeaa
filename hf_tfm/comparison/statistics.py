"""Paired statistics over seeds: differences from the baseline with intervals, p after Holm, verdicts, and how many
seeds an effect would need.

All runs of a seed have the same data order, so what the seed changes in both arms cancels in their difference."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from scipy import stats

__all__ = ["SIGNIFICANCE", "Difference", "holm", "paired_difference", "seeds_needed", "verdict"]

# two-sided, for all arms of a comparison together
SIGNIFICANCE = 0.05
CONFIDENCE, POWER = 0.95, 0.8
MOST_SEEDS = 1000
# differences between results, relative to them, that are errors of floating point
ROUNDING = 1e-12


class Difference(NamedTuple):
    """Mean of arm minus baseline over `pairs` seeds, with its 95 % interval and p of a paired t test, two-sided; all
    but the mean are NaN below two pairs. Where all differences are equal, p is that of a sign test."""

    mean: float
    low: float
    high: float
    spread: float
    p: float
    pairs: int


def paired_difference(arm: Sequence[float], baseline: Sequence[float]) -> Difference:
    """The results of an arm and of the baseline, by seed in the same order."""
    differences = [a - b for a, b in zip(arm, baseline, strict=True)]
    if not differences:
        return Difference(math.nan, math.nan, math.nan, math.nan, math.nan, 0)
    mean, pairs = statistics.fmean(differences), len(differences)
    if pairs < 2:
        return Difference(mean, math.nan, math.nan, math.nan, math.nan, pairs)
    spread = statistics.stdev(differences)
    size = max(map(abs, (*arm, *baseline)))
    if spread <= ROUNDING * size:
        # equal in every seed, as the same arm twice is; a t test has no spread then, a sign test needs none
        return Difference(mean, mean, mean, 0.0, 2 * 0.5**pairs if abs(mean) > ROUNDING * size else 1.0, pairs)
    test = stats.ttest_rel(arm, baseline)
    interval = test.confidence_interval(CONFIDENCE)
    return Difference(mean, float(interval.low), float(interval.high), spread, float(test.pvalue), pairs)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for their number, so that all of them together are wrong in at most 5 % of comparisons
    without effects. Holm 1979, https://www.jstor.org/stable/4615733. NaN stays NaN, and does count: the arm is one of
    those compared."""
    order = sorted(range(len(p_values)), key=lambda index: (math.isnan(p_values[index]), p_values[index]))
    corrected, largest = [math.nan] * len(p_values), 0.0
    for rank, index in enumerate(order):
        if not math.isnan(p_values[index]):
            largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
            corrected[index] = largest
    return corrected


def verdict(difference: Difference, p: float, lower_is_better: bool) -> str:
    """better, worse or not told apart. `p`: corrected."""
    if math.isnan(p) or p >= SIGNIFICANCE:
        return "not told apart"
    return "better" if (difference.mean < 0) == lower_is_better else "worse"


def seeds_needed(difference: Difference, arms: int) -> int | None:
    """Seeds with which a paired t test tells apart an effect of this mean and spread in 80 % of comparisons, at 5 %
    divided by the number of arms compared (Holm's strictest step); None if that is more than 1000, or unknown."""
    if not difference.mean or not difference.spread or math.isnan(difference.spread):
        return None
    effect, level = abs(difference.mean) / difference.spread, SIGNIFICANCE / max(1, arms)
    if power(effect, MOST_SEEDS, level) < POWER:
        return None
    low, high = 1, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, middle, level) >= POWER else (middle, high)
    return high


def power(effect: float, seeds: int, level: float) -> float:
    """Probability that a two-sided paired t test over so many seeds finds an effect of so many standard deviations."""
    if seeds < 2:
        return 0.0
    limit, shift = stats.t.ppf(1 - level / 2, seeds - 1), effect * math.sqrt(seeds)
    found = stats.nct.sf(limit, seeds - 1, shift) + stats.nct.cdf(-limit, seeds - 1, shift)
    # scipy returns NaN where the far tail underflows
    return 1.0 if math.isnan(found) else float(found)
