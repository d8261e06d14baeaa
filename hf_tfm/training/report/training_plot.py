"""The plot of a run, training.png: losses, learning rate, gradient norm and throughput over the steps."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

__all__ = ["nats_per_token", "plot_training"]

TRAIN_COLOR, EVAL_COLOR, BASELINE_COLOR = "#8fb3d9", "#1f4e79", "#777777"
# key of the log -> (label of the axis, color)
PANELS = {
    "learning_rate": ("AdamW\nlearning rate", "#c0504d"),
    "grad_norm": ("gradient\nnorm", "#7a5195"),
    "tokens_per_second": ("tokens\nper second", "#5a8f5a"),
}


def values_by_step(history: list[dict[str, Any]], key: str) -> tuple[list[int], list[float]]:
    """Steps and values of the log entries that have `key`."""
    entries = [entry for entry in history if key in entry]
    return [entry["step"] for entry in entries], [entry[key] for entry in entries]


def add_throughput(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The history with the tokens per second of each logging interval, without the time of evaluations."""
    entries = [entry for entry in history if "train_tokens_per_second" in entry and "train_runtime" in entry]
    throughput = {}
    for previous, current in pairwise(entries):
        seconds = current["train_runtime"] - previous["train_runtime"]
        tokens = current["num_input_tokens_seen"] - previous["num_input_tokens_seen"]
        if seconds > 0:
            throughput[current["step"]] = tokens / seconds
    return [
        entry | {"tokens_per_second": throughput[entry["step"]]}
        if "loss" in entry and entry["step"] in throughput
        else entry
        for entry in history
    ]


def plot_training(
    history: list[dict[str, Any]], path: Path, title: str, baselines: dict[str, float] | None = None
) -> None:
    """Plot Trainer's log history to the file `path`. `baselines`: label -> loss in nats per token, drawn as a line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    history = add_throughput(history)
    panels = {key: panel for key, panel in PANELS.items() if len(values_by_step(history, key)[0]) > 1}
    figure, axes = plt.subplots(
        1 + len(panels), 1, sharex=True, figsize=(8, 4.4 + 1.1 * len(panels)),
        height_ratios=[4, *[1] * len(panels)], layout="constrained", squeeze=False,
    )  # fmt: skip
    loss_axes, *other_axes = axes[:, 0]
    plot_losses(loss_axes, history)
    plot_baselines(loss_axes, baselines or {})
    # names of files may hold $, which would begin a formula
    loss_axes.set_title(title, fontsize=10, loc="left", pad=10, parse_math=False)
    for ax, (key, (label, color)) in zip(other_axes, panels.items(), strict=True):
        steps, values = values_by_step(history, key)
        ax.plot(steps, values, color=color, linewidth=1.5)
        ax.set_ylabel(label)
        # The margin keeps a constant line away from the edge.
        ax.set_ylim(0, 1.15 * max(filter(math.isfinite, values), default=1.0) or 1.0)
    axes[-1, 0].set_xlabel("optimizer steps")
    for ax in axes[:, 0]:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", color="#e8e8e8", linewidth=0.8)
        ax.set_axisbelow(True)
    figure.align_ylabels()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def nats_per_token(bits_per_byte: float, bytes_per_token: float) -> float:
    """Converts bits per byte to the unit of the loss."""
    return bits_per_byte * math.log(2) * bytes_per_token


def plot_baselines(axes: Any, baselines: dict[str, float]) -> None:
    """Dashed lines with labels. The highest has its label above it and the others below, so that labels do not overlap
    with the line of a close baseline."""
    for rank, (label, loss) in enumerate(sorted(baselines.items(), key=lambda item: -item[1])):
        axes.axhline(loss, color=BASELINE_COLOR, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.annotate(
            label, (0, loss), xycoords=("axes fraction", "data"), xytext=(5, -11 if rank else 3),
            textcoords="offset points", fontsize=8, color=BASELINE_COLOR,
        )  # fmt: skip


def plot_losses(axes: Any, history: list[dict[str, Any]]) -> None:
    """Training loss as a line, validation loss as a line with markers and its last value as a number."""
    axes.plot(*values_by_step(history, "loss"), color=TRAIN_COLOR, linewidth=1.5, label="training")
    # The last step is evaluated again at the end, on all rows; the curve keeps its first value of every step, which is
    # on the same rows as the values before.
    first_entries = {entry["step"]: entry for entry in reversed(history) if "eval_loss" in entry}
    steps, losses = values_by_step([first_entries[step] for step in sorted(first_entries)], "eval_loss")
    axes.plot(steps, losses, color=EVAL_COLOR, linewidth=1.8, marker="o", markersize=4, label="validation")
    axes.set_ylabel("loss")
    axes.legend(frameon=False, loc="upper right")
    if losses:
        axes.annotate(
            f"{losses[-1]:.2f}", (steps[-1], losses[-1]), xytext=(7, 0), textcoords="offset points", va="center",
            fontsize=9, color=EVAL_COLOR, annotation_clip=False,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )  # fmt: skip
