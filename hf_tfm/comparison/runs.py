"""The runs of a comparison, and what they left: every run is a folder of train.py.

Which runs are needed follows from the plan and from the results so far alone, so that the same command goes on where
another was killed."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_tfm.training.loop.output_dir import RUN_FILE
from hf_tfm.training.loop.peak_memory import PEAK_MEMORY

from .learning_rates import Sweep, sweep
from .plan import Plan, PlannedArm
from .probes.results import read_probe

__all__ = [
    "SWEEP_SEED", "Outcome", "Run", "expected_runs", "needed_runs", "probes_of", "read_outcome", "read_outcomes",
    "run_arguments", "seed_runs", "sweep_of",
]  # fmt: skip

# Rates are chosen on a seed of their own, so that the choice favours no arm in the seeds that are compared.
SWEEP_SEED = 0
RUNS_FOLDER = "runs"
TIMINGS = ("runtime", "_per_second")


@dataclass(frozen=True)
class Run:
    """One run. `rate`: exponent of the factor that multiplies the arm's learning rates."""

    arm: str
    folder: str
    rate: int
    seed: int

    @property
    def name(self) -> str:
        kind = f"rate{self.rate:+d}" if self.seed == SWEEP_SEED else f"seed-{self.seed}"
        return f"{self.folder}/{kind}"

    def path(self, folder: Path) -> Path:
        return folder / RUNS_FOLDER / self.name


@dataclass(frozen=True)
class Outcome:
    """What a run came to: finished, diverged (its result is not a number) or failed, for the reason in `message`.
    `measures`: results on the validation split by name, those of probes beside the loss included, which are NaN for
    what a design cannot do, for a reason in `cannot`. `seconds`: of training. `peak_memory`: bytes."""

    state: str
    measures: dict[str, float] = field(default_factory=dict)
    seconds: float = math.nan
    message: str = ""
    cannot: tuple[str, ...] = ()
    peak_memory: float = math.nan


def run_of(planned: PlannedArm, rate: int, seed: int) -> Run:
    return Run(planned.arm.name, planned.arm.folder, rate, seed)


def run_arguments(plan: Plan, planned: PlannedArm, run: Run, folder: Path | str) -> list[str]:
    """The arguments of train.py that the comparison adds to those of the arm."""
    factor = plan.request["rate_factor"] ** run.rate
    rates = [item for name, rate in planned.learning_rates.items() for item in (f"--{name}", f"{rate * factor:.6g}")]
    return [*rates, "--max_steps", str(planned.steps), "--seed", str(run.seed), "--output_dir", str(folder)]


def loss_of(plan: Plan, outcome: Outcome | None) -> float | None:
    """The compared result as a loss: less is better, infinite if the run did not finish; None without a run."""
    if outcome is None:
        return None
    if outcome.state != "finished":
        return math.inf
    return outcome.measures[plan.measure] * (1 if plan.lower_is_better else -1)


def sweep_of(plan: Plan, planned: PlannedArm, outcomes: Mapping[Run, Outcome]) -> Sweep:
    """The sweep of an arm's learning rates, as far as it has been run."""

    def loss_at(rate: int) -> float | None:
        return loss_of(plan, outcomes.get(run_of(planned, rate, SWEEP_SEED)))

    return sweep(loss_at, plan.request["rates"], plan.request["most_rates"])


def seed_runs(plan: Plan, planned: PlannedArm, rate: int) -> list[Run]:
    """The runs of an arm that are compared."""
    return [run_of(planned, rate, seed) for seed in plan.seeds]


def needed_runs(plan: Plan, outcomes: Mapping[Run, Outcome]) -> list[Run]:
    """All runs that the plan needs by the results so far, those with a result included: first the rates of every arm,
    then its seeds at the best one."""
    rates, seeds = [], []
    for planned in plan.arms:
        found = sweep_of(plan, planned, outcomes)
        rates += [run_of(planned, rate, SWEEP_SEED) for rate in (*found.losses, *found.missing)]
        seeds += [] if found.best is None else seed_runs(plan, planned, found.best)
    return rates + seeds


def expected_runs(plan: Plan, outcomes: Mapping[Run, Outcome]) -> int:
    """How many runs there will be if no sweep is extended further."""
    unswept = sum(1 for planned in plan.arms if sweep_of(plan, planned, outcomes).missing)
    return len(needed_runs(plan, outcomes)) + unswept * len(plan.seeds)


def read_outcome(plan: Plan, planned: PlannedArm, run: Run, folder: Path) -> Outcome | None:
    """The outcome of a run below the folder of a comparison; None if it, or a probe of it, has not ended. Raises
    ValueError if it learned from other data than the plan's."""
    path = run.path(folder)
    try:
        written = json.loads((path / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if written.get("data") != planned.fingerprint and not written["options"].get("mixture"):
        raise ValueError(
            f"The data have changed since the comparison was planned (fingerprint {planned.fingerprint}, in {path} "
            f"{written.get('data')}). Restore them, or choose another --output_dir."
        )
    probes = [read_probe(path, name) for name in probes_of(plan, run)]
    if not written.get("finished") or None in probes:
        return None
    results: dict[str, Any] = json.loads((path / "all_results.json").read_text(encoding="utf-8"))
    measures = {
        name.removeprefix("eval_"): float(value)
        for name, value in results.items()
        if name.startswith("eval_") and isinstance(value, int | float) and not name.endswith(TIMINGS)
    }
    if plan.measure not in measures:
        raise ValueError(f"--measure {plan.measure} is no result of --task {plan.task}; it has: {', '.join(measures)}.")
    state = "finished" if math.isfinite(measures[plan.measure]) else "diverged"
    found = [result for result in probes if result is not None]
    measures |= {name: value for result in found for name, value in result.measures.items()}
    cannot = tuple(result.reason for result in found if result.reason)
    seconds, memory = (float(results.get(name, math.nan)) for name in ("train_runtime", PEAK_MEMORY))
    return Outcome(state, measures, seconds, cannot=cannot, peak_memory=memory)


def probes_of(plan: Plan, run: Run) -> list[str]:
    """The probes of a run: all of those that are compared, none of those that choose a rate."""
    return [] if run.seed == SWEEP_SEED else plan.request["probes"]


def read_outcomes(plan: Plan, folder: Path, failures: Mapping[Run, Outcome] | None = None) -> dict[Run, Outcome]:
    """The outcomes of all runs in a folder that have ended, and those of `failures` that left nothing there."""
    by_name = {planned.arm.name: planned for planned in plan.arms}
    outcomes: dict[Run, Outcome] = {}
    while True:
        new = {}
        for run in needed_runs(plan, outcomes):
            if run not in outcomes:
                outcome = read_outcome(plan, by_name[run.arm], run, folder) or (failures or {}).get(run)
                new |= {run: outcome} if outcome else {}
        if not new:
            return outcomes
        outcomes |= new
