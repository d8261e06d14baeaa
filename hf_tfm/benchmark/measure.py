"""Rounds in which contenders take turns, so that a neighbour's load meets all of them, and what the rounds say."""

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tqdm.auto import tqdm

__all__ = ["Contender", "Match", "Rounds", "Timed", "race", "spread", "stop_because"]


@dataclass
class Contender:
    """One way of doing the work. `steps`: calls of one round. `units`: what a round yields (tokens, sentences).
    `flops`: useful operations of a round, those for padding left out."""

    name: str
    steps: Sequence[Callable[[], Any]]
    units: float
    flops: float = 0.0


@dataclass(frozen=True)
class Match:
    """Which of ours is set against which of theirs, by name, and whether both hold the same weights."""

    ours: str
    theirs: str
    same_weights: bool = True


@dataclass(frozen=True)
class Rounds:
    """`counted` rounds after `dropped` ones to warm up; more, up to `most`, while a ratio spreads by more than
    `spread` (a share of its median)."""

    counted: int = 5
    dropped: int = 1
    most: int = 15
    spread: float = 0.10


@dataclass
class Timed:
    """Seconds of every counted round by contender."""

    contenders: dict[str, Contender]
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def speeds(self, name: str) -> list[float]:
        """Units per second, round by round."""
        return [self.contenders[name].units / seconds for seconds in self.seconds[name]]

    def ratios(self, match: Match) -> list[float]:
        """Our speed divided by theirs, round by round: both halves of a fraction met the same neighbours."""
        return [ours / theirs for ours, theirs in zip(self.speeds(match.ours), self.speeds(match.theirs), strict=True)]


def spread(values: Sequence[float]) -> float:
    """Width of the middle half as a share of the median; 0 for one value."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / statistics.median(values)


def stop_because(timed: Timed, matches: Sequence[Match], rounds: Rounds) -> str | None:
    """Why no further round is needed; None while one is."""
    done = len(next(iter(timed.seconds.values())))
    if done < rounds.counted:
        return None
    widest = max((spread(timed.ratios(match)) for match in matches), default=0.0)
    if widest <= rounds.spread:
        return f"{done} rounds, ratios within {widest:.0%}"
    return f"{done} rounds at most, although a ratio spreads by {widest:.0%}" if done >= rounds.most else None


def race(
    contenders: Sequence[Contender],
    matches: Sequence[Match],
    rounds: Rounds,
    label: str = "",
    clock: Callable[[], float] = time.perf_counter,
) -> Timed:
    """Time all contenders round by round. Within a round they take turns step by step, and who begins changes."""
    timed = Timed({one.name: one for one in contenders}, {one.name: [] for one in contenders})
    turns = sum(len(one.steps) for one in contenders)
    with tqdm(total=turns * (rounds.dropped + rounds.counted), desc=label, unit="step", leave=False) as progress:
        for number in itertools.count():
            seconds = one_round(contenders, number, clock, progress)
            if number < rounds.dropped:
                continue
            for name, taken in seconds.items():
                timed.seconds[name].append(taken)
            if stop_because(timed, matches, rounds):
                return timed
            if progress.n >= progress.total:
                progress.total += turns
                progress.refresh()
    raise AssertionError("rounds are counted for ever")


def one_round(
    contenders: Sequence[Contender], number: int, clock: Callable[[], float], progress: Any
) -> dict[str, float]:
    """Seconds of every contender."""
    seconds = dict.fromkeys((one.name for one in contenders), 0.0)
    for step in range(max(len(one.steps) for one in contenders)):
        first = (number + step) % len(contenders)
        for one in [*contenders[first:], *contenders[:first]]:
            if step < len(one.steps):
                started = clock()
                one.steps[step]()
                seconds[one.name] += clock() - started
                progress.update()
    return seconds
