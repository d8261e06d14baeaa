"""The picture of a comparison: the result over steps, FLOPs and seconds with bands over the seeds, differences with
their intervals, and the sweeps of learning rates."""

import json
import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .plan import Plan, training_flops
from .probe_findings import ProbeFinding, probe_findings
from .probes import PROBES, Probe
from .results import ArmResult
from .runs import Outcome, Run, seed_runs

__all__ = ["plot_comparison"]

# Okabe and Ito, which the colour-blind tell apart; more arms repeat them with other lines
COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINES = ("-", "--", ":", "-.")


class Curve(NamedTuple):
    """Mean and standard deviation over the seeds, by step; seconds of a step."""

    steps: list[int]
    means: list[float]
    spreads: list[float]
    step_seconds: float


def curve_of(plan: Plan, item: ArmResult, outcomes: Mapping[Run, Outcome], folder: Path) -> Curve | None:
    """The curve of an arm at its best rate; None if no run of it finished."""
    if item.sweep.best is None:
        return None
    by_step: dict[int, list[float]] = {}
    seconds = []
    for run in seed_runs(plan, item.planned, item.sweep.best):
        outcome = outcomes.get(run)
        if outcome is not None and outcome.state == "finished":
            seconds.append(outcome.seconds / item.planned.steps)
            for step, value in evaluations(run.path(folder), plan.measure).items():
                by_step.setdefault(step, []).append(value)
    if not by_step:
        return None
    steps = sorted(by_step)
    spreads = [statistics.stdev(by_step[step]) if len(by_step[step]) > 1 else 0.0 for step in steps]
    return Curve(steps, [statistics.fmean(by_step[step]) for step in steps], spreads, statistics.median(seconds))


def evaluations(path: Path, measure: str) -> dict[int, float]:
    """Results on the validation split by step."""
    history = json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    return {entry["step"]: entry[f"eval_{measure}"] for entry in history if f"eval_{measure}" in entry}


def style(index: int) -> dict[str, Any]:
    return {"color": COLORS[index % len(COLORS)], "linestyle": LINES[index // len(COLORS) % len(LINES)]}


def plot_comparison(plan: Plan, results: list[ArmResult], outcomes: Mapping[Run, Outcome], folder: Path) -> Path:
    """Draw compare.png, and return its path."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    height = 0.3 * len(results)
    findings = probe_findings(plan, results, outcomes)
    heights = [4, 4 + height, *([4 + height] if findings else [])]
    figure, axes = plt.subplots(
        len(heights), 3, figsize=(15, sum(heights)), height_ratios=heights, layout="constrained", squeeze=False
    )
    curves = [curve_of(plan, item, outcomes, folder) for item in results]
    plot_curves(axes[0], plan, results, curves)
    place = axes[1, 0].get_gridspec()
    for axis in axes[1:].flat:
        axis.remove()
    plot_differences(figure.add_subplot(place[1, :2]), plan, results)
    plot_rates(figure.add_subplot(place[1, 2]), plan, results)
    if findings:
        probes = plan.request["probes"]
        row = place[2, :].subgridspec(1, max(3, len(probes)))
        for column, name in enumerate(probes):
            plot_probe(figure.add_subplot(row[column]), PROBES[name], findings, with_names=not column)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper center", ncols=min(4, len(handles)), frameon=False)
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    path = folder / "compare.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def plot_curves(axes: Any, plan: Plan, results: list[ArmResult], curves: list[Curve | None]) -> None:
    """Three panels of the same curves: over steps, FLOPs and seconds. The band is one standard deviation."""
    for axis, label in zip(axes, ("optimizer steps", "FLOPs", "seconds of training"), strict=True):
        for index, (item, curve) in enumerate(zip(results, curves, strict=True)):
            if curve is None:
                continue
            planned = item.planned
            per_step = {"FLOPs": training_flops(planned) / planned.steps, "optimizer steps": 1.0}
            x = [step * per_step.get(label, curve.step_seconds) for step in curve.steps]
            low = [mean - spread for mean, spread in zip(curve.means, curve.spreads, strict=True)]
            high = [mean + spread for mean, spread in zip(curve.means, curve.spreads, strict=True)]
            axis.plot(x, curve.means, label=planned.arm.name, linewidth=1.6, **style(index))
            axis.fill_between(x, low, high, color=style(index)["color"], alpha=0.15, linewidth=0)
        axis.set_xlabel(label)
        axis.set_ylabel(plan.measure)
        axis.grid(axis="y", color="#e8e8e8", linewidth=0.8)
        show_ends(axis, plan, [curve for curve in curves if curve is not None])


def show_ends(axis: Any, plan: Plan, curves: list[Curve]) -> None:
    """Leave out the first quarter's values, beside which all arms would look equal."""
    values = [value for curve in curves for value in curve.means[len(curve.means) // 4 :]]
    if values:
        margin = 0.05 * (max(values) - min(values)) or 1.0
        limits = {"top": max(values) + margin} if plan.lower_is_better else {"bottom": min(values) - margin}
        axis.set_ylim(**limits)


def plot_differences(axis: Any, plan: Plan, results: list[ArmResult]) -> None:
    """A forest plot: the difference of each arm from the baseline, with its 95 % interval."""
    compared = results[1:]
    for row, item in enumerate(compared):
        found, color = item.difference, style(row + 1)["color"]
        if found is None or math.isnan(found.mean):
            continue
        if not math.isnan(found.low):
            axis.plot([found.low, found.high], [row, row], color=color, linewidth=2)
        axis.plot([found.mean], [row], "o", color=color, markersize=7)
    axis.axvline(0, color="#888888", linewidth=1)
    axis.set_yticks(range(len(compared)), [f"{item.planned.arm.name}\n{item.verdict}" for item in compared])
    axis.set_ylim(len(compared) - 0.5, -0.5)
    side = "left" if plan.lower_is_better else "right"
    axis.set_xlabel(
        f"{plan.measure} minus that of {results[0].planned.arm.name}, with 95 % interval ({side} of 0 is better)"
    )
    axis.grid(axis="x", color="#e8e8e8", linewidth=0.8)


def plot_rates(axis: Any, plan: Plan, results: list[ArmResult]) -> None:
    """The result of each arm by the factor of its learning rates; the best is filled."""
    factor, sign = plan.request["rate_factor"], 1 if plan.lower_is_better else -1
    for index, item in enumerate(results):
        finite = {e: sign * loss for e, loss in sorted(item.sweep.losses.items()) if math.isfinite(loss)}
        x = [factor**exponent for exponent in finite]
        axis.plot(x, list(finite.values()), marker="o", markerfacecolor="white", linewidth=1.4, **style(index))
        if item.sweep.best in finite:
            axis.plot([factor**item.sweep.best], [finite[item.sweep.best]], "o", color=style(index)["color"])
    axis.set_xscale("log", base=2)
    axis.set_xlabel("learning rates, times the default")
    axis.set_ylabel(plan.measure)
    axis.grid(axis="y", color="#e8e8e8", linewidth=0.8)


def plot_probe(axis: Any, probe: type[Probe], findings: list[ProbeFinding], with_names: bool) -> None:
    """The means of a probe with their standard deviations: of one measure, arm by arm; of several, a line per arm."""
    measures = probe.drawn or tuple(probe.labels)
    arms = list(dict.fromkeys(item.arm for item in findings))
    found = {(item.arm, item.measure): item for item in findings}
    for index, arm in enumerate(arms):
        items = [found[arm, measure] for measure in measures]
        means = [item.mean for item in items]
        spreads = [0.0 if math.isnan(item.spread) else item.spread for item in items]
        color = style(index)["color"]
        if len(measures) == 1:
            axis.errorbar(means, [index], xerr=spreads, fmt="o", color=color, capsize=3)
        else:
            axis.errorbar(range(len(measures)), means, yerr=spreads, marker="o", capsize=3, **style(index))
    if len(measures) == 1:
        # the same in all panels, in the colours of the legend
        axis.set_yticks(range(len(arms)), arms if with_names else [""] * len(arms))
        axis.set_ylim(len(arms) - 0.5, -0.5)
        axis.set_xlabel(measures[0])
    else:
        axis.set_xticks(range(len(measures)), measures)
    axis.set_title(probe.name, loc="left", fontsize=10)
    axis.grid(axis="x" if len(measures) == 1 else "y", color="#e8e8e8", linewidth=0.8)
