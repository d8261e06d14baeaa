"""The results of a comparison, arm by arm: the baseline's spread, differences from it, and verdicts."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from .learning_rates import Sweep
from .plan import Plan, PlannedArm
from .runs import Outcome, Run, seed_runs, sweep_of
from .statistics import Difference, holm, paired_difference, seeds_needed, verdict

__all__ = ["ArmResult", "compare_arms"]

STATES = ("diverged", "failed")


@dataclass(frozen=True)
class ArmResult:
    """`values`: the compared result by seed, of the runs that finished. `states`: how many runs of seeds finished,
    diverged or failed. `difference`: from the baseline, paired by seed; None for the baseline. `p`: after Holm.
    `needed`: seeds that would tell apart an effect of the size seen."""

    planned: PlannedArm
    sweep: Sweep
    values: dict[int, float]
    states: dict[str, int]
    difference: Difference | None = None
    p: float = math.nan
    verdict: str = "baseline"
    needed: int | None = None

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values.values()) if self.values else math.nan

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else math.nan


def compare_arms(plan: Plan, outcomes: Mapping[Run, Outcome]) -> list[ArmResult]:
    """One result per arm, the baseline first. Every p counts, also of arms that get no verdict."""
    found = [arm_result(plan, planned, outcomes) for planned in plan.arms]
    baseline = found[0]
    differences = [difference_from(baseline, item) for item in found[1:]]
    corrected = holm([difference.p for difference in differences])
    results = [baseline]
    for item, difference, p in zip(found[1:], differences, corrected, strict=True):
        words = obstacle(plan, item) or obstacle(plan, baseline, "the baseline's ")
        results.append(
            ArmResult(
                item.planned, item.sweep, item.values, item.states, difference, p,
                words or verdict(difference, p, plan.lower_is_better), seeds_needed(difference, len(differences)),
            )
        )  # fmt: skip
    return results


def arm_result(plan: Plan, planned: PlannedArm, outcomes: Mapping[Run, Outcome]) -> ArmResult:
    found = sweep_of(plan, planned, outcomes)
    runs = [] if found.best is None else seed_runs(plan, planned, found.best)
    ended = {run.seed: outcomes[run] for run in runs if run in outcomes}
    values = {seed: item.measures[plan.measure] for seed, item in ended.items() if item.state == "finished"}
    states = {state: sum(item.state == state for item in ended.values()) for state in ("finished", *STATES)}
    return ArmResult(planned, found, values, states)


def difference_from(baseline: ArmResult, item: ArmResult) -> Difference:
    """Over the seeds in which both finished."""
    seeds = [seed for seed in baseline.values if seed in item.values]
    return paired_difference([item.values[seed] for seed in seeds], [baseline.values[seed] for seed in seeds])


def obstacle(plan: Plan, item: ArmResult, whose: str = "") -> str:
    """Why an arm is named neither better nor worse; empty if nothing stands against it."""
    if item.sweep.missing:
        return f"{whose}rates not finished"
    if item.sweep.best is None:
        return f"{whose}every rate diverged or failed"
    lost = [f"{item.states[state]} of {len(plan.seeds)} {state}" for state in STATES if item.states[state]]
    if lost:
        return f"{whose}runs: {', '.join(lost)}" if whose else ", ".join(lost)
    if item.states["finished"] < len(plan.seeds):
        return f"{whose}seeds not finished"
    return f"{whose}best rate at the edge" if item.sweep.at_edge else ""
