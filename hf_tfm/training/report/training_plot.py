"""training.png: losses, learning rate, gradient norm and throughput over the steps of a run."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

__all__ = ["plot_training"]

TRAIN, EVALUATION, RATE, NORM, SPEED, QUIET = "#8fb3d9", "#1f4e79", "#c0504d", "#7a5195", "#5a8f5a", "#777777"
# key of the log -> (words on the axis, colour)
PANELS = {
    "learning_rate": ("AdamW\nlearning rate", RATE),
    "grad_norm": ("gradient\nnorm", NORM),
    "tokens_per_second": ("tokens\nper second", SPEED),
}


def values_by_step(history: list[dict[str, Any]], key: str) -> tuple[list[int], list[float]]:
    """Steps and values of the log entries that have `key`."""
    entries = [entry for entry in history if key in entry]
    return [entry["step"] for entry in entries], [entry[key] for entry in entries]


def add_throughput(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The history with the tokens per second of each logging interval, evaluations left out of the clock."""
    entries = [entry for entry in history if "train_tokens_per_second" in entry and "train_runtime" in entry]
    speeds = {}
    for before, after in pairwise(entries):
        seconds = after["train_runtime"] - before["train_runtime"]
        tokens = after["num_input_tokens_seen"] - before["num_input_tokens_seen"]
        if seconds > 0:
            speeds[after["step"]] = tokens / seconds
    return [
        entry | {"tokens_per_second": speeds[entry["step"]]} if "loss" in entry and entry["step"] in speeds else entry
        for entry in history
    ]


def plot_training(
    history: list[dict[str, Any]], path: Path, title: str, baselines: dict[str, float] | None = None
) -> None:
    """Write the picture of a Trainer's log history to `path`. `baselines`: words -> a height, in nats, of a line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    history = add_throughput(history)
    panels = {key: panel for key, panel in PANELS.items() if len(values_by_step(history, key)[0]) > 1}
    figure, axes = plt.subplots(
        1 + len(panels), 1, sharex=True, figsize=(8, 4.4 + 1.1 * len(panels)),
        height_ratios=[4, *[1] * len(panels)], layout="constrained", squeeze=False,
    )  # fmt: skip
    loss, *others = axes[:, 0]
    plot_losses(loss, history)
    # The highest has its words above it and the others below, so that lines near one another stay readable.
    for rank, (words, height) in enumerate(sorted((baselines or {}).items(), key=lambda item: -item[1])):
        loss.axhline(height, color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)))
        loss.annotate(
            words, (0, height), xycoords=("axes fraction", "data"), xytext=(5, -11 if rank else 3),
            textcoords="offset points", fontsize=8, color=QUIET,
        )  # fmt: skip
    loss.set_title(title, fontsize=10, loc="left", pad=10)
    for panel, (key, (words, color)) in zip(others, panels.items(), strict=True):
        steps, values = values_by_step(history, key)
        panel.plot(steps, values, color=color, linewidth=1.5)
        panel.set_ylabel(words)
        # Room above, so that a level line does not lie on the edge.
        panel.set_ylim(0, 1.15 * max(filter(math.isfinite, values), default=1.0) or 1.0)
    axes[-1, 0].set_xlabel("optimiser steps")
    for panel in axes[:, 0]:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="y", color="#e8e8e8", linewidth=0.8)
        panel.set_axisbelow(True)
    figure.align_ylabels()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def nats_per_token(bits_per_byte: float, bytes_per_token: float) -> float:
    """The height of a result in bits per byte beside losses in nats per token."""
    return bits_per_byte * math.log(2) * bytes_per_token


def plot_losses(axes: Any, history: list[dict[str, Any]]) -> None:
    """Training loss as a line, validation loss as a line with points and the last value in figures."""
    axes.plot(*values_by_step(history, "loss"), color=TRAIN, linewidth=1.5, label="training")
    # The last step is measured again at the end, on all rows: the curve keeps to those it was measured on before.
    measured = {entry["step"]: entry for entry in reversed(history) if "eval_loss" in entry}
    steps, losses = values_by_step([measured[step] for step in sorted(measured)], "eval_loss")
    axes.plot(steps, losses, color=EVALUATION, linewidth=1.8, marker="o", markersize=4, label="validation")
    axes.set_ylabel("loss")
    axes.legend(frameon=False, loc="upper right")
    if losses:
        axes.annotate(
            f"{losses[-1]:.2f}", (steps[-1], losses[-1]), xytext=(7, 0), textcoords="offset points", va="center",
            fontsize=9, color=EVALUATION, annotation_clip=False,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )  # fmt: skip
