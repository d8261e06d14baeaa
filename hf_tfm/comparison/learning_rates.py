"""The sweep of learning rates of each arm: log-spaced around its default, and extended while the best stands at an
edge. All rates of an arm (AdamW's and Muon's) are multiplied by one factor."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Sweep", "sweep"]


@dataclass(frozen=True)
class Sweep:
    """`losses`: results by exponent of the factor, as losses: less is better, infinite for a run that diverged or
    failed. `missing`: exponents that are still to be run. `best`: None while some are missing, and if every rate is
    infinite. `at_edge`: whether the limit ended the sweep before a worse rate was found on both sides of the best."""

    losses: dict[int, float] = field(default_factory=dict)
    missing: tuple[int, ...] = ()
    best: int | None = None
    at_edge: bool = False

    @property
    def sensitivity(self) -> float:
        """Mean loss that one factor costs, on both sides of the best rate; infinite if a neighbour diverged, NaN at an
        edge. A narrow form of the learning rate sensitivity of Wortsman et al. 2023, arXiv:2309.14322."""
        if self.best is None or self.at_edge:
            return math.nan
        return sum(self.losses[self.best + side] - self.losses[self.best] for side in (-1, 1)) / 2


def sweep(loss_of: Callable[[int], float | None], rates: int, most_rates: int) -> Sweep:
    """The sweep as far as it is known. `loss_of`: the loss at an exponent; None if it has not been run."""
    exponents = list(range(-(rates // 2), rates - rates // 2))
    while True:
        losses = {exponent: loss_of(exponent) for exponent in exponents}
        known = {exponent: loss for exponent, loss in losses.items() if loss is not None}
        missing = tuple(exponent for exponent in exponents if exponent not in known)
        if missing:
            return Sweep(known, missing)
        best = min(exponents, key=lambda exponent: (known[exponent], abs(exponent)))
        if len(exponents) < most_rates and not math.isfinite(known[best]):
            # every rate diverges: lower ones may not
            exponents.insert(0, exponents[0] - 1)
        elif best not in (exponents[0], exponents[-1]) or len(exponents) >= most_rates:
            is_finite = math.isfinite(known[best])
            return Sweep(known, (), best if is_finite else None, best in (exponents[0], exponents[-1]))
        elif best == exponents[0]:
            exponents.insert(0, best - 1)
        else:
            exponents.append(best + 1)
