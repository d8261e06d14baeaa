"""Pictures of the benchmarks, drawn from what their tools recorded."""

from pathlib import Path
from typing import Any

__all__ = ["draw_depth", "draw_length", "draw_ratios"]

LINES = (":", "--", "-")
COLOURS = ("#1f4e79", "#c0504d", "#9a9a9a", "#5b8c5a", "#8064a2")
QUIET = "#777777"
GIB = 2**30


def new_figure(columns: int, **ratios: Any) -> tuple[Any, Any, Any]:
    """pyplot, a figure for a README (8 by 5.6 inches) and its axes, one beside the other."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, columns, figsize=(8, 5.6), layout="constrained", **ratios)
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(axis="y", color="#e8e8e8", linewidth=0.8)
        one.set_axisbelow(True)
    return plt, figure, axes


def save(plt: Any, figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=150)
    plt.close(figure)


def draw_depth(report: dict[str, Any], path: Path) -> None:
    """Left the losses of every wiring over the steps, right the gradient norm of every block at three steps."""
    plt, figure, (loss, gradient) = new_figure(2)
    settings = report["settings"]
    for colour, (name, run) in zip(COLOURS, report["runs"].items(), strict=False):
        draw_losses(loss, run, f"{name}, {ending(run)}", colour)
        draw_norms(gradient, run, colour)
    unigram = report["unigram"]["entropy"]
    loss.axhline(unigram, color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)))
    loss.annotate(
        f"unigram entropy {unigram:.2f}", (1, unigram), xycoords=("axes fraction", "data"), xytext=(0, 3),
        textcoords="offset points", ha="right", fontsize=8, color=QUIET,
    )  # fmt: skip
    loss.set(xlabel="optimiser steps", ylabel="loss, nats per token")
    loss.set_title(f"{settings['blocks']} blocks of width {settings['hidden_size']}", fontsize=10, loc="left")
    loss.legend(frameon=False, fontsize=9, loc="upper right")
    gradient.set(xlabel="block", ylabel="gradient norm", yscale="log")
    limit_to_sound(gradient, report["runs"])
    gradient.set_title("gradient of every block", fontsize=10, loc="left")
    logged = thirds(next(iter(report["runs"].values()))["gradient_norms"])
    for step, line in zip(logged, LINES, strict=True):
        gradient.plot([], [], line, color=QUIET, label=f"step {step}")
    gradient.legend(frameon=False, fontsize=9, loc="best")
    save(plt, figure, path)


def ending(run: dict[str, Any]) -> str:
    return f"test {run['test']:.2f}" if run["broken_at"] is None else f"infinite at step {run['broken_at']}"


def limit_to_sound(axes: Any, runs: dict[str, Any]) -> None:
    """Gradients that run off to infinity leave the picture, so that the others can be compared."""
    sound = [run["gradient_norms"].values() for run in runs.values() if run["broken_at"] is None]
    if norms := [norm for steps in sound for blocks in steps for norm in blocks]:
        axes.set_ylim(min(norms) / 2, max(norms) * 10)


def thirds(norms: dict[str, Any]) -> list[str]:
    """The first, the middle and the last of the logged steps."""
    logged = list(norms)
    return [logged[0], logged[len(logged) // 2], logged[-1]]


def draw_losses(axes: Any, run: dict[str, Any], label: str, colour: str) -> None:
    """Training loss as a thin line, validation loss as points."""
    axes.plot([int(step) for step in run["loss"]], list(run["loss"].values()), color=colour, linewidth=1.5, label=label)
    steps = [int(step) for step in run["validation"]]
    axes.plot(steps, list(run["validation"].values()), color=colour, marker="o", markersize=4, linestyle="none")


def draw_norms(axes: Any, run: dict[str, Any], colour: str) -> None:
    """The first logged step dotted, the middle one dashed, the last one solid."""
    for step, line in zip(thirds(run["gradient_norms"]), LINES, strict=True):
        norms = run["gradient_norms"][step]
        axes.plot(range(1, len(norms) + 1), norms, line, color=colour, linewidth=1.3)


def draw_length(report: dict[str, Any], path: Path) -> None:
    """Left the peak memory, right the seconds of one forward and backward pass against length."""
    plt, figure, (memory, seconds) = new_figure(2)
    for colour, kind in zip(COLOURS, dict.fromkeys(point["attention"] for point in report["points"]), strict=False):
        points = [point for point in report["points"] if point["attention"] == kind]
        lengths = [point["length"] for point in points]
        memory.plot(lengths, [point["peak_bytes"] / GIB for point in points], "o-", color=colour, label=kind)
        seconds.plot(lengths, [point["seconds"] for point in points], "o-", color=colour, label=kind)
    idle = min(point["idle_bytes"] for point in report["points"]) / GIB
    memory.axhline(idle, color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)), label="idle process")
    for axes, title in ((memory, "peak memory of the process, GiB"), (seconds, "forward and backward, seconds")):
        ticks = sorted({point["length"] for point in report["points"]})
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [f"{tick // 1024}k" if tick % 1024 == 0 else str(tick) for tick in ticks])
        axes.set(xlabel="tokens in a row", ylabel=title)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=8, loc="upper left")
    save(plt, figure, path)


def draw_ratios(results: list[dict[str, Any]], path: Path) -> None:
    """A bar for every ratio of ours to theirs, its target as a mark; a dashed line where both are equal."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 1.2 + 0.3 * len(results)), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    for place, one in enumerate(results):
        colour = COLOURS[1] if one["met"] is False else COLOURS[0]
        axes.barh(place, one["ratio"], height=0.6, color=colour, alpha=0.6)
        right = max(one["ratio"], one["target"] or 0)
        axes.annotate(f"  {one['ratio']:.2f}", (right, place), va="center", fontsize=8)
        if one["target"] is not None:
            axes.plot([one["target"]] * 2, [place - 0.42, place + 0.42], color="black", linewidth=2)
    # without the row's name, which says the same in short
    names = [f"{one['what'].split(': ')[-1]}, {one['theirs']}" for one in results]
    axes.set_yticks(range(len(results)), names, fontsize=8)
    axes.set_ylim(len(results) - 0.4, -0.6)
    axes.axvline(1, color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_xlabel("ours / theirs (import: seconds)\nblack mark: target; red: missed", fontsize=8)
    save(plt, figure, path)
