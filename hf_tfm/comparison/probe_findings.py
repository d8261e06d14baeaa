"""What the probes found, arm by arm: means over the seeds, and differences from the baseline. They are looked at, not
tested: no p, no verdict, and nothing of them enters the correction of the compared result."""

import math
import statistics
from collections.abc import Mapping
from typing import NamedTuple

from .plan import Plan
from .probes import PROBES
from .results import ArmResult
from .runs import Outcome, Run, seed_runs
from .statistics import Difference, paired_difference

__all__ = ["ProbeFinding", "probe_findings"]


class ProbeFinding(NamedTuple):
    """One measure of one arm. `mean` and `spread` (standard deviation) over the seeds; NaN if the arm cannot do it, for
    the reason in `cannot`, or has not been probed. `difference`: from the baseline, paired by seed."""

    measure: str
    arm: str
    mean: float
    spread: float
    difference: Difference | None
    cannot: str = ""


def probe_findings(plan: Plan, results: list[ArmResult], outcomes: Mapping[Run, Outcome]) -> list[ProbeFinding]:
    """Measure by measure, the baseline first."""
    probed = [probed_runs(plan, item, outcomes) for item in results]
    return [
        finding(measure, item.planned.arm.name, runs, None if runs is probed[0] else probed[0])
        for name in plan.request["probes"]
        for measure in PROBES[name].labels
        for item, runs in zip(results, probed, strict=True)
    ]


def probed_runs(plan: Plan, item: ArmResult, outcomes: Mapping[Run, Outcome]) -> dict[int, Outcome]:
    """The runs of an arm that ended, by seed."""
    runs = [] if item.sweep.best is None else seed_runs(plan, item.planned, item.sweep.best)
    return {run.seed: outcomes[run] for run in runs if run in outcomes}


def finding(measure: str, arm: str, runs: dict[int, Outcome], baseline: dict[int, Outcome] | None) -> ProbeFinding:
    values = values_of(measure, runs)
    difference = None
    if baseline is not None:
        others = values_of(measure, baseline)
        seeds = [seed for seed in others if seed in values]
        difference = paired_difference([values[seed] for seed in seeds], [others[seed] for seed in seeds])
    mean = statistics.fmean(values.values()) if values else math.nan
    spread = statistics.stdev(values.values()) if len(values) > 1 else math.nan
    reasons = "" if values else next((reason for item in runs.values() for reason in item.cannot), "")
    return ProbeFinding(measure, arm, mean, spread, difference, reasons)


def values_of(measure: str, runs: dict[int, Outcome]) -> dict[int, float]:
    """Those that are numbers, by seed."""
    found = {seed: item.measures.get(measure, math.nan) for seed, item in runs.items()}
    return {seed: value for seed, value in found.items() if math.isfinite(value)}
