"""Plots of the benchmarks, drawn from what the tools recorded."""

from pathlib import Path
from typing import Any

from .memory_usage import GIB

__all__ = ["plot_depth", "plot_length", "plot_ratios"]

LINE_STYLES = (":", "--", "-")
COLOURS = ("#1f4e79", "#c0504d", "#9a9a9a", "#5b8c5a", "#8064a2")
GREY = "#777777"
REFERENCE_LINE = {"color": GREY, "linewidth": 0.9, "linestyle": (0, (4, 3))}


def import_pyplot() -> Any:
    """pyplot without a display. matplotlib is imported only here: tools without a plot run without it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def two_axes(pyplot: Any) -> tuple[Any, Any]:
    """A figure of 8 by 5.6 inches and two axes side by side."""
    figure, axes = pyplot.subplots(1, 2, figsize=(8, 5.6), layout="constrained")
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(axis="y", color="#e8e8e8", linewidth=0.8)
        one.set_axisbelow(True)
    return figure, axes


def save(pyplot: Any, figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def plot_depth(report: dict[str, Any], path: Path) -> None:
    """Left: loss of every variant over the steps. Right: gradient norm of every layer at three steps."""
    pyplot = import_pyplot()
    figure, (loss_axes, gradient_axes) = two_axes(pyplot)
    settings = report["settings"]
    for colour, (name, run) in zip(COLOURS, report["runs"].items(), strict=False):
        plot_losses(loss_axes, run, f"{name}, {final_loss_text(run)}", colour)
        plot_gradient_norms(gradient_axes, run, colour)
    entropy = report["unigram"]["entropy"]
    loss_axes.axhline(entropy, **REFERENCE_LINE)
    loss_axes.annotate(
        f"unigram entropy {entropy:.2f}", (1, entropy), xycoords=("axes fraction", "data"), xytext=(0, 3),
        textcoords="offset points", ha="right", fontsize=8, color=GREY,
    )  # fmt: skip
    loss_axes.set(xlabel="optimiser steps", ylabel="loss, nats per token")
    loss_axes.set_title(f"{settings['layers']} layers of width {settings['hidden_size']}", fontsize=10, loc="left")
    loss_axes.legend(frameon=False, fontsize=9, loc="upper right")
    gradient_axes.set(xlabel="layer", ylabel="gradient norm", yscale="log")
    limit_to_finite_runs(gradient_axes, report["runs"])
    gradient_axes.set_title("gradient norm by layer", fontsize=10, loc="left")
    steps = first_middle_last(next(iter(report["runs"].values()))["gradient_norms"])
    for step, style in zip(steps, LINE_STYLES, strict=True):
        gradient_axes.plot([], [], style, color=GREY, label=f"step {step}")
    gradient_axes.legend(frameon=False, fontsize=9, loc="best")
    save(pyplot, figure, path)


def final_loss_text(run: dict[str, Any]) -> str:
    step = run["first_nonfinite_step"]
    return f"test {run['test']:.2f}" if step is None else f"infinite at step {step}"


def limit_to_finite_runs(axes: Any, runs: dict[str, Any]) -> None:
    """Fit the axis to runs that stayed finite: exploding gradients would hide the differences between the others."""
    finite = [run["gradient_norms"].values() for run in runs.values() if run["first_nonfinite_step"] is None]
    if norms := [norm for steps in finite for layers in steps for norm in layers]:
        axes.set_ylim(min(norms) / 2, max(norms) * 10)


def first_middle_last(gradient_norms: dict[str, Any]) -> list[str]:
    """Three of the logged steps."""
    steps = list(gradient_norms)
    return [steps[0], steps[len(steps) // 2], steps[-1]]


def plot_losses(axes: Any, run: dict[str, Any], label: str, colour: str) -> None:
    """Training loss as a thin line, validation loss as points."""
    axes.plot([int(step) for step in run["loss"]], list(run["loss"].values()), color=colour, linewidth=1.5, label=label)
    steps = [int(step) for step in run["validation"]]
    axes.plot(steps, list(run["validation"].values()), color=colour, marker="o", markersize=4, linestyle="none")


def plot_gradient_norms(axes: Any, run: dict[str, Any], colour: str) -> None:
    """The first logged step dotted, the middle one dashed, the last one solid."""
    for step, style in zip(first_middle_last(run["gradient_norms"]), LINE_STYLES, strict=True):
        norms = run["gradient_norms"][step]
        axes.plot(range(1, len(norms) + 1), norms, style, color=colour, linewidth=1.3)


def plot_length(report: dict[str, Any], path: Path) -> None:
    """Left: peak memory against length. Right: seconds of one forward and backward pass."""
    pyplot = import_pyplot()
    figure, (memory_axes, seconds_axes) = two_axes(pyplot)
    points = report["points"]
    for colour, attention in zip(COLOURS, dict.fromkeys(point["attention"] for point in points), strict=False):
        chosen = [point for point in points if point["attention"] == attention]
        lengths = [point["length"] for point in chosen]
        peaks = [point["peak_bytes"] / GIB for point in chosen]
        memory_axes.plot(lengths, peaks, "o-", color=colour, label=attention)
        seconds_axes.plot(lengths, [point["seconds"] for point in chosen], "o-", color=colour, label=attention)
    idle = min(point["idle_bytes"] for point in points) / GIB
    memory_axes.axhline(idle, **REFERENCE_LINE, label="imports and model")
    ticks = sorted({point["length"] for point in points})
    tick_labels = [f"{tick // 1024}k" if tick % 1024 == 0 else str(tick) for tick in ticks]
    for axes, title in (
        (memory_axes, "peak memory of the process, GiB"), (seconds_axes, "forward and backward pass, seconds"),
    ):  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, tick_labels)
        axes.set(xlabel="sequence length, tokens", ylabel=title)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=8, loc="upper left")
    save(pyplot, figure, path)


def plot_ratios(results: list[dict[str, Any]], path: Path) -> None:
    """A bar for every ratio of ours to a peer's, a black line at its target, and a dashed line at equality."""
    pyplot = import_pyplot()
    figure, axes = pyplot.subplots(figsize=(8, 1.2 + 0.3 * len(results)), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    for y, result in enumerate(results):
        ratio, target = result["ratio"], result["target"]
        axes.barh(y, ratio, height=0.6, color=COLOURS[1] if result["met"] is False else COLOURS[0], alpha=0.6)
        axes.annotate(f"  {ratio:.2f}", (max(ratio, target or 0), y), va="center", fontsize=8)
        if target is not None:
            axes.plot([target, target], [y - 0.42, y + 0.42], color="black", linewidth=2)
    # without the workload's name, which the case repeats
    labels = [f"{result['case'].split(': ')[-1]}, {result['peer']}" for result in results]
    axes.set_yticks(range(len(results)), labels, fontsize=8)
    axes.set_ylim(len(results) - 0.4, -0.6)
    axes.axvline(1, **REFERENCE_LINE)
    axes.set_xlabel("ours / peer (import: seconds)\nblack line: target; red bar: target missed", fontsize=8)
    save(pyplot, figure, path)
