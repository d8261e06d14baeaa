"""What a comparison found, as text: the plan, the table of differences, the rates, and how to go on."""

import math
import shlex
from collections.abc import Mapping
from typing import Any

from hf_tfm.training.loop.training_length import duration

from .plan import Plan, PlannedArm, training_flops
from .preparation import train_arguments
from .probe_findings import probe_findings
from .results import ArmResult
from .runs import Outcome, Run, run_arguments, seed_runs
from .tables import number, probes_text, table, time_table

__all__ = ["plan_text", "report_text"]


def plan_text(plan: Plan, jobs: int) -> str:
    """Arms, sizes, FLOPs, number of runs, and about how long they take."""
    base = plan.baseline
    rows = [
        [
            item.arm.name, f"{item.parameters:,}", solved_text(item, base), f"{item.flops_per_token:,.0f}",
            f"{item.steps:,}", f"{training_flops(item):.3g}", rates_text(item), f"{item.step_seconds:.3f}",
        ]
        for item in plan.arms
    ]  # fmt: skip
    request = plan.request
    runs = len(plan.arms) * (request["rates"] + request["seeds"])
    train = sum((request["rates"] + request["seeds"]) * item.run_seconds for item in plan.arms) / jobs
    probe = sum(request["seeds"] * item.probe_seconds for item in plan.arms) / jobs
    probes = f", of which {duration(probe)} are probes ({', '.join(request['probes'])})" if request["probes"] else ""
    headers = ("arm", "parameters", "solved", "FLOPs / token", "steps", "FLOPs", "learning rates", "s / step")
    return "\n\n".join(
        [
            f"Compared by {plan.measure} on the validation split of --task {plan.task}, at equal {request['budget']}.",
            f"Data: {plan.data}",
            table(headers, rows),
            f"Runs: {runs} ({len(plan.arms)} arms x ({request['rates']} rates + {request['seeds']} seeds)), more where "
            f"the best rate stands at an edge (at most {request['most_rates']} rates). About "
            f"{duration(train + probe)} by {jobs} at a time{probes}.",
        ]
    )


def solved_text(item: PlannedArm, base: PlannedArm) -> str:
    """What was solved, beside the baseline's size."""
    return ", ".join(f"{name} {size} (baseline {base.sizes[name]})" for name, size in item.arm.solved.items())


def rates_text(item: PlannedArm) -> str:
    return ", ".join(f"{rate:g}" for rate in item.learning_rates.values())


def report_text(plan: Plan, results: list[ArmResult], outcomes: Mapping[Run, Outcome], folder: str) -> str:
    """Everything that was found, in Markdown."""
    findings = probe_findings(plan, results, outcomes)
    parts = [
        f"# {plan.measure} of {len(plan.arms)} designs at equal {plan.request['budget']}",
        spread_text(plan, results[0]),
        differences_table(plan, results),
        reading_text(plan, results),
        *(["## Probes", probes_text(plan, findings)] if findings else []),
        "## Learning rates",
        rates_table(plan, results),
        "Sensitivity: what a rate that is wrong by the factor costs, on average of both sides of the best. Rates are "
        "chosen on a seed of their own.",
        "## Go on",
        winner_text(plan, results, folder),
        "## Time and memory",
        time_table(results, outcomes),
        "Seconds are medians over the runs of an arm; memory is the most that any of them had, of tensors on a GPU, "
        "elsewhere of the whole process.",
    ]
    lost = {run: item for run, item in outcomes.items() if item.state != "finished"}
    if lost:
        lines = sorted(f"- {run.name}: {item.state}. {item.message}".strip() for run, item in lost.items())
        parts[4:4] = ["## Runs that diverged or failed", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def spread_text(plan: Plan, baseline: ArmResult) -> str:
    """The noise floor."""
    better = "lower is better" if plan.lower_is_better else "higher is better"
    if math.isnan(baseline.spread):
        return f"The baseline, {baseline.planned.arm.name}, has not finished two seeds yet ({better})."
    return (
        f"The baseline, {baseline.planned.arm.name}, has {plan.measure} {baseline.mean:.4f} ({better}) with a standard "
        f"deviation of {baseline.spread:.4f} over {len(baseline.values)} seeds."
    )


def differences_table(plan: Plan, results: list[ArmResult]) -> str:
    headers = (
        "arm", "parameters", "FLOPs", plan.measure, "sd", "difference", "95 % interval", "p (Holm)", "verdict",
        "seeds needed",
    )  # fmt: skip
    return table(headers, [difference_row(item) for item in results])


def difference_row(item: ArmResult) -> list[str]:
    planned, found = item.planned, item.difference
    row = [planned.arm.name, f"{planned.parameters:,}", f"{training_flops(planned):.3g}"]
    row += [number(item.mean), number(item.spread)]
    if found is None:
        return [*row, "", "", "", item.verdict, ""]
    interval = "" if math.isnan(found.low) else f"{found.low:+.4f} to {found.high:+.4f}"
    needed = str(item.needed or ("" if math.isnan(found.p) or not found.mean else "> 1000"))
    return [*row, number(found.mean, "+.4f"), interval, number(item.p, ".3g"), item.verdict, needed]


def reading_text(plan: Plan, results: list[ArmResult]) -> str:
    """How to read the table."""
    text = (
        "Differences are paired by seed: all arms share seeds, order of the data and evaluation. An arm is better or "
        f"worse if p, corrected for {max(1, len(results) - 1)} compared arm(s) after Holm, is below 0.05; an effect of "
        'the size seen would be told apart in 4 of 5 comparisons with the number of seeds under "seeds needed".'
    )
    if any(item.sweep.at_edge for item in results):
        text += (
            " An arm whose best rate stands at the edge of its sweep, or whose baseline's does, is named neither: a "
            "better rate may lie beyond; --add with more --most_rates looks there."
        )
    if plan.extensions:
        text += (
            f" The comparison was extended {plan.extensions} time(s) by --add: p does not count that somebody looked "
            "in between, so take a p near 0.05 for none."
        )
    return text


def rates_table(plan: Plan, results: list[ArmResult]) -> str:
    """The compared result at every rate."""
    exponents = sorted({exponent for item in results for exponent in item.sweep.losses})
    factor, sign = plan.request["rate_factor"], 1 if plan.lower_is_better else -1
    rows = []
    for item in results:
        losses, best = item.sweep.losses, item.sweep.best
        values = ["" if e not in losses else f"{sign * losses[e]:.4f}" if math.isfinite(losses[e]) else "diverged"
                  for e in exponents]  # fmt: skip
        chosen = "" if best is None else f"x{factor**best:g}{' (edge)' if item.sweep.at_edge else ''}"
        rows.append([item.planned.arm.name, chosen, number(item.sweep.sensitivity), *values])
    return table(["arm", "best rate", "sensitivity", *(f"x{factor**e:g}" for e in exponents)], rows)


def best_arm(plan: Plan, results: list[ArmResult]) -> ArmResult:
    """The best of those that are better than the baseline; the baseline if there is none."""
    better = [item for item in results if item.verdict == "better"]
    sign = 1 if plan.lower_is_better else -1
    return min(better, key=lambda item: sign * item.mean) if better else results[0]


def winner_text(plan: Plan, results: list[ArmResult], folder: str) -> str:
    """The lines that train the winner again, and load it."""
    winner = best_arm(plan, results)
    name, best = winner.planned.arm.name, winner.sweep.best
    if best is None or not winner.values:
        return "Nothing to go on with yet."
    first = "" if winner is not results[0] else "No arm is better than the baseline. "
    run = seed_runs(plan, winner.planned, best)[0]
    options: list[Any] = [*train_arguments(list(plan.request["options"]), winner.planned.arm)]
    processes = plan.request["processes"]
    start = ["python"] if processes == 1 else ["torchrun", "--nproc_per_node", str(processes)]
    own = run_arguments(plan, winner.planned, run, "runs/my-model")
    command = shlex.join([*start, "train.py", *options, *own])
    model = f"{folder}/runs/{run.name}"
    others = [item.planned.arm.name for item in results if item.verdict == "better" and item is not winner]
    if others:
        first = (
            f"Better than the baseline too: {'; '.join(others)}. Whether the best of them is better than the others is "
            "a comparison of its own. "
        )
    return f'{first}Go on with {name}:\n\n```bash\n{command}\nhf-tfm inspect {shlex.quote(model)} "Some text"\n```'
