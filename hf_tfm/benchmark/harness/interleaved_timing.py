"""Time several models in rounds in which they take turns, so that other load on the machine meets all of them."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tqdm.auto import tqdm

__all__ = ["ModelPair", "RoundSettings", "TimedModel", "Timings", "spread", "time_interleaved"]


@dataclass
class TimedModel:
    """A model and its work in a round. `steps`: the calls of one round. `units`: tokens or sentences that a round
    processes. `flops`: useful operations of a round, without those for padding."""

    name: str
    steps: Sequence[Callable[[], Any]]
    units: float
    flops: float = 0.0


@dataclass(frozen=True)
class ModelPair:
    """The names of two models whose ratio is reported, and whether both hold the same weights."""

    ours: str
    peer: str
    same_weights: bool = True


@dataclass(frozen=True)
class RoundSettings:
    """`rounds` counted rounds after `warmup_rounds`. Rounds are added, up to `max_rounds`, while the spread of a ratio
    is above `max_spread`."""

    rounds: int = 5
    warmup_rounds: int = 1
    max_rounds: int = 15
    max_spread: float = 0.10


@dataclass
class Timings:
    """Seconds of every counted round by model name."""

    models: dict[str, TimedModel]
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def speeds(self, name: str) -> list[float]:
        """Units per second, round by round."""
        return [self.models[name].units / seconds for seconds in self.seconds[name]]

    def ratios(self, pair: ModelPair) -> list[float]:
        """Our speed divided by the peer's, round by round: both were measured under the same load."""
        return [ours / peer for ours, peer in zip(self.speeds(pair.ours), self.speeds(pair.peer), strict=True)]


def spread(values: Sequence[float]) -> float:
    """Interquartile range divided by the median; 0 for one value."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / statistics.median(values)


def enough_rounds(timings: Timings, pairs: Sequence[ModelPair], settings: RoundSettings) -> bool:
    """Whether there are as many rounds as asked for, and either no ratio spreads too far or no round may be added."""
    done = len(next(iter(timings.seconds.values())))
    if done < settings.rounds:
        return False
    return done >= settings.max_rounds or all(spread(timings.ratios(pair)) <= settings.max_spread for pair in pairs)


def time_interleaved(
    models: Sequence[TimedModel],
    pairs: Sequence[ModelPair],
    settings: RoundSettings,
    description: str = "",
    clock: Callable[[], float] = time.perf_counter,
) -> Timings:
    """Time all models round by round. Within a round they take turns step by step; which model begins changes."""
    timings = Timings({model.name: model for model in models}, {model.name: [] for model in models})
    calls = sum(len(model.steps) for model in models)
    planned = calls * (settings.warmup_rounds + settings.rounds)
    with tqdm(total=planned, desc=description, unit="step", leave=False) as progress:
        for number in range(settings.warmup_rounds):
            time_round(models, number, clock, progress)
        number = settings.warmup_rounds
        while True:
            for name, seconds in time_round(models, number, clock, progress).items():
                timings.seconds[name].append(seconds)
            if enough_rounds(timings, pairs, settings):
                return timings
            number += 1
            if progress.n >= progress.total:
                progress.total += calls
                progress.refresh()


def time_round(
    models: Sequence[TimedModel], number: int, clock: Callable[[], float], progress: Any
) -> dict[str, float]:
    """Seconds of every model in one round, by name."""
    seconds = dict.fromkeys((model.name for model in models), 0.0)
    for step in range(max(len(model.steps) for model in models)):
        first = (number + step) % len(models)
        for model in [*models[first:], *models[:first]]:
            if step < len(model.steps):
                started = clock()
                model.steps[step]()
                seconds[model.name] += clock() - started
                progress.update()
    return seconds
