"""Solves one size of an arm so that it costs what the baseline costs: FLOPs per token, or parameters.

Width and depth are coarse; where they miss the baseline by more than the tolerance, the width of the feed-forward,
which changes by single units, takes up the rest."""

from collections.abc import Callable
from typing import Any, NamedTuple

from .arms import Arm

__all__ = ["TOLERANCE", "Sizes", "deviation", "solve"]

# relative difference up to which arms count as equal
TOLERANCE = 0.01
FEED_FORWARD, WIDTH, DEPTH = "intermediate_size", "hidden_size", "num_hidden_layers"
FIELDS = {"feed_forward": FEED_FORWARD, "width": WIDTH, "depth": DEPTH}
# feed-forwards are multiples of this where that is close enough, since matrix products are faster then
MULTIPLE = 8
MAX_UNITS = 1 << 16


class Sizes(NamedTuple):
    """What a model has: parameters, FLOPs of a forward pass per token, and its configuration."""

    parameters: int
    flops_per_token: float
    config: Any


def deviation(sizes: Sizes, target: float, by: str) -> float:
    """Relative difference from the baseline, signed. `by`: a field of Sizes."""
    return getattr(sizes, by) / target - 1


def solve(arm: Arm, how: str, target: float, by: str, sizes_of: Callable[[Arm], Sizes]) -> Arm:
    """The arm, with the sizes that bring it within TOLERANCE of the target. `how`: a key of FIELDS. Raises ValueError
    that names the closest that was found, and for a size that the arm sets itself."""
    sizes = sizes_of(arm)
    if abs(deviation(sizes, target, by)) <= TOLERANCE:
        return arm
    field = FIELDS[how]
    if field in arm.settings:
        others = ", ".join(name for name in FIELDS if FIELDS[name] not in arm.settings)
        raise ValueError(
            f"{described(sizes, target, by)}, and {field} is what the arm itself sets, so it cannot be solved; use "
            f"--solve with one of {others}, or steps, which changes no size."
        )
    search = Search(target, by, sizes_of)
    found = search.nearest(arm, field, start=getattr(sizes.config, field), unit=unit_of(field, sizes.config))
    if field == FEED_FORWARD:
        found = search.rounded(found)
    elif not search.is_close(found) and FEED_FORWARD not in arm.settings:
        start = getattr(sizes_of(found).config, FEED_FORWARD)
        found = search.rounded(search.nearest(found, FEED_FORWARD, start, unit=1))
    if not search.is_close(found):
        shown = ", ".join(f"{name} {size}" for name, size in found.solved.items())
        raise ValueError(
            f"no {' or '.join(found.solved)} brings it within {TOLERANCE:.0%} of the baseline; the closest is {shown}: "
            f"{described(sizes_of(found), target, by)}. Use another --solve, or steps, which changes no size."
        )
    return found


def described(sizes: Sizes, target: float, by: str) -> str:
    unit = by.replace("_", " ").replace("flops", "FLOPs")
    return f"{getattr(sizes, by):,.0f} {unit} ({deviation(sizes, target, by):+.1%})"


def unit_of(field: str, config: Any) -> int:
    """The step in which a size changes: a width by two for every head, since heads rotate pairs."""
    return 2 * config.num_attention_heads if field == WIDTH else 1


class Search:
    """Sizes near a target. Costs grow with every size."""

    def __init__(self, target: float, by: str, sizes_of: Callable[[Arm], Sizes]) -> None:
        self.target, self.by, self.sizes_of = target, by, sizes_of

    def error(self, arm: Arm) -> float:
        return deviation(self.sizes_of(arm), self.target, self.by)

    def is_close(self, arm: Arm) -> bool:
        return abs(self.error(arm)) <= TOLERANCE

    def nearest(self, arm: Arm, field: str, start: int, unit: int) -> Arm:
        """The arm with the multiple of `unit` whose cost is nearest to the target, by bisection from `start`."""

        def at(count: int) -> Arm:
            return arm.with_solved(**{field: count * unit})

        low, high = 1, max(1, start // unit)
        while self.error(at(high)) < 0 and high < MAX_UNITS:
            cost = self.error(at(high))
            low, high = high, 2 * high
            if self.error(at(high)) == cost:
                # the size has no effect
                return at(low)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.error(at(middle)) < 0 else (low, middle)
        return min(at(low), at(high), key=lambda candidate: abs(self.error(candidate)))

    def rounded(self, arm: Arm) -> Arm:
        """The arm with its feed-forward at a multiple of MULTIPLE, if that is close enough too."""
        size = max(MULTIPLE, round(arm.solved[FEED_FORWARD] / MULTIPLE) * MULTIPLE)
        rounded = arm.with_solved(**{FEED_FORWARD: size})
        return rounded if self.is_close(rounded) else arm
