"""training.png: losses and the learning rate over the steps of a run."""

import math
from pathlib import Path
from typing import Any

__all__ = ["draw_training"]

TRAIN, EVALUATION, RATE, QUIET = "#8fb3d9", "#1f4e79", "#c0504d", "#777777"


def series(history: list[dict[str, Any]], key: str) -> tuple[list[int], list[float]]:
    """Steps and values of the log entries that have `key`."""
    entries = [entry for entry in history if key in entry]
    return [entry["step"] for entry in entries], [entry[key] for entry in entries]


def draw_training(
    history: list[dict[str, Any]], path: Path, bytes_per_token: float, baselines: dict[str, float], title: str
) -> None:
    """Write the picture of a Trainer's log history to `path`.

    Losses in nats per token; `baselines` in bits per byte (name -> value), drawn as lines at the height they have for a
    tokenizer with `bytes_per_token` bytes of text per token."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (loss, rate) = plt.subplots(2, 1, sharex=True, figsize=(8, 5.6), height_ratios=[4, 1], layout="constrained")
    draw_losses(loss, history)
    for name, bits in baselines.items():
        height = bits * math.log(2) * bytes_per_token
        loss.axhline(height, color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)))
        loss.annotate(
            f"{name}, {bits:.2f} bits per byte", (0, height), xycoords=("axes fraction", "data"), xytext=(5, 3),
            textcoords="offset points", fontsize=8, color=QUIET,
        )  # fmt: skip
    loss.set_title(title, fontsize=10, loc="left", pad=10)
    rate.plot(*series(history, "learning_rate"), color=RATE, linewidth=1.5)
    rate.set(xlabel="optimiser steps", ylabel="AdamW\nlearning rate")
    rate.set_ylim(bottom=0)
    for axes in (loss, rate):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e8e8e8", linewidth=0.8)
        axes.set_axisbelow(True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def draw_losses(axes: Any, history: list[dict[str, Any]]) -> None:
    """Training loss as a line, validation loss as a line with points and the last value in figures."""
    axes.plot(*series(history, "loss"), color=TRAIN, linewidth=1.5, label="training")
    steps, losses = series(history, "eval_nats_per_token")
    axes.plot(steps, losses, color=EVALUATION, linewidth=1.8, marker="o", markersize=4, label="validation")
    axes.set_ylabel("loss, nats per token")
    axes.legend(frameon=False, loc="upper right")
    if losses:
        axes.annotate(
            f"{losses[-1]:.2f}", (steps[-1], losses[-1]), xytext=(7, 0), textcoords="offset points", va="center",
            fontsize=9, color=EVALUATION, annotation_clip=False,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )  # fmt: skip
