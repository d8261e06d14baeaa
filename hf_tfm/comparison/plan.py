"""The plan of a comparison: arms with sizes and steps, learning rates, seeds and runs. It is written into the folder
before anything runs, and decides what the same command finds there again."""

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import IntervalStrategy

from hf_tfm.privacy import shareable, shareable_arguments
from hf_tfm.training.cli.parser import option_value
from hf_tfm.training.utils.files import write_atomically

from .arms import Arm
from .budget import MEASURES_OF_SIZE, Budget
from .preparation import Preparation, PreparedArm, refusal
from .probes import PROBES
from .run_times import RunTimes
from .solve import TOLERANCE, solve

__all__ = [
    "Plan", "PlannedArm", "Request", "check_same_request", "make_plan", "read_plan", "training_flops", "write_plan",
]  # fmt: skip

PLAN_FILE = "plan.json"
# the backward pass has two matrix products for each of the forward pass
PASSES = 3


@dataclass(frozen=True)
class Request:
    """What the command asks for. `shared`: arguments of train.py for all arms. `rates`: learning rates of each arm at
    first, log-spaced by `rate_factor` around the default; `most_rates`: to which a sweep is extended while its best
    stands at an edge. `measure`: the result that is compared; None: the task's own. `probes`: names in PROBES.
    `processes`: of each run."""

    arms: tuple[Arm, ...]
    shared: tuple[str, ...]
    budget: Budget
    solve: str
    seeds: int
    rates: int
    most_rates: int
    rate_factor: float
    measure: str | None
    probes: tuple[str, ...] = ()
    processes: int = 1

    def recorded(self) -> dict[str, Any]:
        """The request as JSON values. Folders and secrets of the shared arguments are left out."""
        names = ("solve", "seeds", "rates", "most_rates", "rate_factor", "measure", "probes", "processes")
        values = {name: getattr(self, name) for name in names}
        arms = {arm.name: arm.settings for arm in self.arms}
        shared = shareable_arguments(list(self.shared))
        whole = {"arms": arms, "baseline": self.arms[0].name, "options": shared, "budget": str(self.budget), **values}
        # as read from a file
        return json.loads(json.dumps(shareable(whole)))


@dataclass(frozen=True)
class PlannedArm:
    """An arm with what the plan found for it. `flops_per_token`: of a forward pass. `learning_rates`: the defaults
    around which rates are swept, by option. Seconds are measured: of a step, of an evaluation on the validation split,
    of the start of a run and its end, and of probes of a run. `evaluations`: in a run, those at its end included."""

    arm: Arm
    parameters: int
    flops_per_token: float
    tokens_per_step: float
    steps: int
    learning_rates: dict[str, float]
    step_seconds: float
    fingerprint: str
    sizes: dict[str, int] = field(default_factory=dict)
    evaluations: int = 0
    evaluation_seconds: float = 0.0
    start_seconds: float = 0.0
    probe_seconds: float = 0.0

    @property
    def run_seconds(self) -> float:
        """About how long a run takes, without probes."""
        return self.start_seconds + self.steps * self.step_seconds + self.evaluations * self.evaluation_seconds


@dataclass(frozen=True)
class Plan:
    """`request`: as recorded. `measure`: the compared result, without the prefix of its split; `lower_is_better`.
    `extensions`: how often --add extended the comparison."""

    request: dict[str, Any]
    arms: list[PlannedArm]
    measure: str
    lower_is_better: bool
    task: str
    data: str
    extensions: int = 0

    @property
    def baseline(self) -> PlannedArm:
        return self.arms[0]

    @property
    def seeds(self) -> range:
        return range(1, self.request["seeds"] + 1)


def training_flops(planned: PlannedArm) -> float:
    """FLOPs of a whole run: forward and backward passes over all its tokens."""
    return PASSES * planned.flops_per_token * planned.tokens_per_step * planned.steps


def make_plan(
    request: Request,
    preparation: Preparation,
    measure_times: Callable[[PreparedArm, list[str]], RunTimes],
    known: Plan | None = None,
) -> Plan:
    """The plan of a request. `measure_times`: what takes how long in a run of an arm. `known`: a plan that is extended,
    whose arms are kept. Raises ValueError with all arms that are illegal or cannot be solved."""
    check_length(request)
    prepared = preparation.prepare_all(list(request.arms), request.probes)
    first = prepared[0]
    base = preparation.sizes_of(first, first.arm)
    by = MEASURES_OF_SIZE[request.budget.unit]
    solved, problems = [first], []
    for item in prepared[1:]:
        try:
            if request.solve == "steps":
                solved.append(item)
            else:
                arm = solve(item.arm, request.solve, getattr(base, by), by, preparation.solver(item))
                solved.append(preparation.solved(item, arm))
        except ValueError as error:
            problems.append(f"arm {item.arm.name}: {error}")
    if problems:
        raise ValueError(refusal(problems))
    kept = {planned.arm.name: planned for planned in known.arms} if known else {}
    planned: list[PlannedArm] = []
    for item in solved:
        found = kept.get(item.arm.name)
        planned.append(found or plan_arm(item, preparation, measure_times, request, planned))
    objective = first.data.objective
    measure = request.measure or main_measure(objective, first.run_args.training)
    return Plan(
        request.recorded(), planned, measure, measure in objective.lower_is_better, objective.task,
        shareable(first.data.summary()), known.extensions + 1 if known else 0,
    )  # fmt: skip


def plan_arm(
    item: PreparedArm,
    preparation: Preparation,
    measure_times: Callable[[PreparedArm, list[str]], RunTimes],
    request: Request,
    before: list[PlannedArm],
) -> PlannedArm:
    args = item.run_args.training
    sizes = preparation.sizes_of(item, item.arm)
    times = measure_times(item, list(request.shared))
    names = ("learning_rate", "muon_learning_rate") if args.optimizer == "muon" else ("learning_rate",)
    planned = PlannedArm(
        item.arm, sizes.parameters, sizes.flops_per_token, item.tokens_per_step, args.max_steps,
        {name: getattr(args, name) for name in names}, times.step, item.data.fingerprint,
        {name: getattr(sizes.config, name) for name in ("hidden_size", "num_hidden_layers", "intermediate_size")},
        evaluation_seconds=times.evaluation, start_seconds=times.start,
        probe_seconds=sum(
            PROBES[name]().seconds(sizes.config, item.run_args, times.evaluation) for name in request.probes
        ),
    )  # fmt: skip
    steps = steps_of(planned, request.budget, before[0] if before else None)
    return dataclasses.replace(planned, steps=steps, evaluations=evaluations_of(args, steps))


def evaluations_of(args: Any, steps: int) -> int:
    """Evaluations in a run: during training, and on the validation and the test split at its end."""
    if args.eval_strategy == IntervalStrategy.NO:
        during = 0
    elif args.eval_strategy == IntervalStrategy.EPOCH:
        during = args.num_train_epochs
    elif args.eval_steps < 1:
        during = 1 / args.eval_steps
    else:
        during = steps // args.eval_steps
    return math.ceil(during) + 2


def main_measure(objective: Any, args: Any) -> str:
    """What a task is compared by: what chooses its best weights; bits per byte, which do not depend on the tokenizer,
    instead of a loss per token."""
    is_loss = objective.validation_metric == "loss"
    if objective.generates_text and not args.predict_with_generate:
        return "loss"
    return "bits_per_byte" if is_loss and "bits_per_byte" in objective.metric_labels else objective.validation_metric


def check_length(request: Request) -> None:
    """Raises ValueError if two options decide the number of steps."""
    if request.budget.amount is not None and option_value("max_steps", list(request.shared)) is not None:
        raise ValueError(f"--max_steps and --budget {request.budget} both decide how long runs are; leave one out.")
    if request.budget.unit == "seconds" and request.processes > 1:
        raise ValueError("--budget in seconds needs steps that are measured in one process; leave out --processes.")
    if request.budget.unit == "parameters" and request.solve == "steps":
        raise ValueError("--budget parameters makes sizes equal, which --solve steps does not change; leave one out.")


def cost_of_step(planned: PlannedArm, unit: str) -> float:
    """What an optimizer step costs in the unit of a budget."""
    return {
        "FLOPs": PASSES * planned.flops_per_token * planned.tokens_per_step, "tokens": planned.tokens_per_step,
        "seconds": planned.step_seconds, "parameters": 1.0,
    }[unit]  # fmt: skip


def steps_of(planned: PlannedArm, budget: Budget, baseline: PlannedArm | None) -> int:
    """Optimizer steps under a budget. `planned.steps`: those of the command without one, which the baseline takes if
    the budget has no amount. Raises ValueError if whole steps miss the baseline's cost by more than the tolerance."""
    cost = cost_of_step(planned, budget.unit)
    if baseline is None and budget.amount is None and planned.steps < 1:
        raise ValueError(f"--budget {budget} is that of the baseline, whose steps are unknown; add --max_steps.")
    if baseline is None:
        return planned.steps if budget.amount is None else max(1, round(budget.amount / cost))
    cost_of_baseline = cost_of_step(baseline, budget.unit)
    if budget.unit != "seconds" and abs(cost / cost_of_baseline - 1) <= TOLERANCE:
        return baseline.steps
    total = cost_of_baseline * baseline.steps
    steps = max(1, round(total / cost))
    if abs(steps * cost / total - 1) > TOLERANCE and budget.unit != "seconds":
        raise ValueError(
            f"arm {planned.arm.name}: {steps} whole steps miss the baseline's {total:.3g} {budget.unit} by "
            f"{steps * cost / total - 1:+.1%}; give a larger --budget."
        )
    return steps


def write_plan(plan: Plan, folder: Path) -> None:
    write_atomically(folder / PLAN_FILE, json.dumps(dataclasses.asdict(plan), indent=1) + "\n")


def read_plan(folder: Path) -> Plan | None:
    """The plan in a folder; None if there is none. Raises ValueError if it is damaged."""
    try:
        content = json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))
        # a plan that was written before there were these has none of them
        content["request"] = {"probes": [], "processes": 1} | content["request"]
        arms = [PlannedArm(**item | {"arm": Arm(**item["arm"])}) for item in content["arms"]]
        return Plan(**content | {"arms": arms})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / PLAN_FILE} is damaged; restore it, or choose another --output_dir.") from error


def differences(there: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two recorded requests, in words."""
    found = [
        f"{name} ({there.get(name)} there, {now[name]} now)"
        for name in now
        if name != "arms" and there.get(name) != now[name]
    ]
    old, new = there["arms"], now["arms"]
    found += [f"arm {name} (only there)" for name in old if name not in new]
    found += [f"arm {name} (only now)" for name in new if name not in old]
    both = [name for name in old if name in new and old[name] != new[name]]
    return found + [f"arm {name} ({old[name]} there, {new[name]} now)" for name in both]


def check_same_request(plan: Plan, request: Request, folder: Path, add: bool) -> None:
    """Raises FileExistsError if a folder holds another comparison, and names the difference. With `add` the request may
    have more arms, more seeds, more probes, and a higher limit of rates."""
    now = request.recorded()
    there = dict(plan.request)
    if add:
        there["probes"] = now["probes"] if {*there["probes"]} <= {*now["probes"]} else there["probes"]
        there["arms"] = there["arms"] | {name: now["arms"][name] for name in now["arms"] if name not in there["arms"]}
        there |= {name: max(there[name], now[name]) for name in ("seeds", "most_rates")}
    found = differences(there, now)
    if found:
        advice = "Choose another --output_dir" + (
            "" if add else ", or extend it by --add with more arms, seeds, probes or most_rates"
        )
        raise FileExistsError(f"{folder} holds another comparison: {'; '.join(found)}. {advice}.")
