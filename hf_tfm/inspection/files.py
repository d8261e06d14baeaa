"""A report as files for other programs: JSON, arrays of NumPy, and still pictures."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .plain_values import arrays_of, nested_lists, plain
from .report import AttentionMaps, Attribution, HeadScores, Lens, Prediction, Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MAX_JSON_WEIGHTS", "write_json", "write_npz", "write_pictures"]

# 25 bytes each
MAX_JSON_WEIGHTS = 2_000_000
# the page's scale of amounts in the light theme, web/colors.js
AMOUNTS = ["#ffffff", "#f5efcf", "#d9cb83", "#a59c74", "#7c7b78", "#575d6d", "#2c3f6b", "#00224e"]
# tokens that a picture names; of a longer text it shows the last ones
MAX_TOKENS = 40
# characters that a font does not draw, or that change the direction of what follows
UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def write_json(report: Report, path: str | Path) -> None:
    """All numbers as they are; NaN is null. The layout is that of `Report`.

    Of more than 2,000,000 attention weights the file says how many there are and leaves them to `write_npz`."""
    values = plain(report, nested_lists)
    count = sum(maps.weights.size for maps in report.attention)
    if count > MAX_JSON_WEIGHTS:
        for maps in values["attention"]:
            maps["weights"] = maps["visible"] = None
        values["absent"]["attention.weights"] = (
            f"{count:,} weights are more than the {MAX_JSON_WEIGHTS:,} that a JSON file takes; --npz writes them."
        )
    Path(path).write_text(json.dumps(values, allow_nan=False) + "\n", encoding="utf-8")


def write_npz(report: Report, path: str | Path) -> None:
    """Every array of the report under its dotted name, "attention.0.weights", and all the rest as JSON in "report"."""
    rest = json.dumps(plain(report, lambda array: {"shape": list(array.shape), "dtype": str(array.dtype)}))
    with open(path, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, report=np.array(rest), **dict(arrays_of(report)))


def label(token: str) -> str:
    """A token as text of a picture: dollar signs would start a formula."""
    return UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", token).strip().replace("$", r"\$") or "␣"


def write_pictures(report: Report, folder: str | Path) -> list[Path]:
    """PNG files of what the page shows: prediction.png, lens.png, attribution.png, heads.png, and for each kind of
    attention and layer one attention-*.png. Returns their paths. Needs matplotlib: pip install "hf_tfm[inspect]"."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    drawings: dict[str, Figure] = {}
    if report.prediction is not None:
        drawings["prediction"] = draw_prediction(report.prediction)
    if report.lens is not None and report.prediction is not None:
        drawings["lens"] = draw_lens(report.lens, report.prediction, report.sequences[-1].tokens)
    if report.attributions:
        drawings["attribution"] = draw_attribution(report.attributions[0])
    if report.heads:
        drawings["heads"] = draw_heads(report.heads)
    for maps in report.attention:
        names = {sequence.name: sequence.tokens for sequence in report.sequences}
        for layer in range(maps.weights.shape[0]):
            number = (maps.layers[layer] if maps.layers else layer) + 1
            drawings[f"attention-{maps.stack}-{maps.kind}-{number}"] = draw_attention(maps, layer, number, names)
    paths = []
    for name, figure in drawings.items():
        paths.append(folder / f"{name}.png")
        # without the date and version, so that the same report gives the same file
        figure.savefig(paths[-1], dpi=120, metadata={"Software": None})
    return paths


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple["Figure", Any]:
    """A figure of its own, outside pyplot's list of open ones."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('The pictures need matplotlib: pip install "hf_tfm[inspect]".') from error
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def amounts() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("amounts", AMOUNTS)


def draw_prediction(prediction: Prediction) -> "Figure":
    """Bars of the last prediction."""
    labels, probabilities = prediction.labels[-1], prediction.probabilities[-1]
    values = prediction.logits[-1] if np.isnan(probabilities).any() else probabilities
    figure, axes = new_figure(6, 0.6 + 0.3 * len(labels))
    bars = axes[0, 0].barh(range(len(labels)), values, color="#35679b")
    axes[0, 0].bar_label(bars, [f"{value:.3f}" for value in values], padding=3)
    axes[0, 0].set_yticks(range(len(labels)), [label(text) for text in labels])
    axes[0, 0].invert_yaxis()
    axes[0, 0].set_title(prediction.question)
    axes[0, 0].spines[["top", "right"]].set_visible(False)
    return figure


def draw_lens(lens: Lens, prediction: Prediction, tokens: list[str]) -> "Figure":
    """The best guess after every half block, for the last tokens; color: its probability."""
    shown = range(max(len(prediction.positions) - 16, 0), len(prediction.positions))
    figure, axes = new_figure(1.5 + 0.75 * len(shown), 1 + 0.3 * len(lens.taps))
    axis, values = axes[0, 0], lens.probabilities[:, list(shown), 0]
    image = axis.imshow(values, cmap=amounts(), vmin=0, vmax=1, aspect="auto", origin="lower")
    for tap in range(len(lens.taps)):
        for column, row in enumerate(shown):
            color = "white" if values[tap, column] > 0.5 else "black"
            axis.text(column, tap, label(lens.labels[tap][row][0]), ha="center", va="center", color=color, fontsize=8)
    axis.set_yticks(range(len(lens.taps)), lens.taps)
    places = [prediction.positions[row] for row in shown]
    axis.set_xticks(range(len(places)), ["text" if place is None else label(tokens[place]) for place in places])
    axis.tick_params(axis="x", rotation=45)
    axis.set_title("Best guess after every half block")
    figure.colorbar(image, label="probability")
    return figure


def draw_attribution(attribution: Attribution) -> "Figure":
    """What each part of the model wrote into the logit, the heads of one attention together."""
    sums: dict[str, float] = {}
    for part in attribution.parts:
        kind = {"self": "attention", "cross": "cross-attention"}.get(part.attention or "", part.name or part.kind)
        name = kind if part.layer is None else f"{part.layer + 1} {kind}"
        sums[name] = sums.get(name, 0.0) + part.value
    figure, axes = new_figure(6, 0.8 + 0.25 * len(sums))
    axis, values = axes[0, 0], list(sums.values())
    bars = axis.barh(range(len(sums)), values, color=["#3581ba" if value > 0 else "#c95f12" for value in values])
    axis.bar_label(bars, [f"{value:+.2f}" for value in values], padding=3)
    axis.set_yticks(range(len(sums)), list(sums))
    axis.margins(x=0.15)
    axis.invert_yaxis()
    axis.set_title(f"Who wrote {label(attribution.label)!r}: sum {sum(values):.4f}, logit {attribution.logit:.4f}")
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def draw_heads(heads: list[HeadScores]) -> "Figure":
    """Each score that is defined as a table of layers and heads, one row of tables for each kind of attention."""
    defined = [{name: values for name, values in item.scores.items() if np.isfinite(values).any()} for item in heads]
    names = list(dict.fromkeys(name for scores in defined for name in scores))
    figure, axes = new_figure(2.2 * len(names), 2.4 * len(heads), len(heads), len(names))
    for row, scores in enumerate(defined):
        for axis, name in zip(axes[row], names, strict=True):
            if name not in scores:
                axis.axis("off")
                continue
            layers, count = scores[name].shape
            largest = max(float(np.nanmax(scores[name])), 1.0)
            # centers of the cells at 1, 2, ...
            extent = (0.5, count + 0.5, layers + 0.5, 0.5)
            axis.imshow(scores[name], cmap=amounts(), vmin=0, vmax=largest, aspect="auto", extent=extent)
            axis.set_title(f"{name} (0 to {largest:.3g})", fontsize=8)
            axis.locator_params(integer=True)
            axis.tick_params(labelsize=7)
            axis.set_xlabel("head", fontsize=7)
            axis.set_ylabel(f"{heads[row].stack} {heads[row].attention}: layer", fontsize=7)
    return figure


def draw_attention(maps: AttentionMaps, layer: int, number: int, names: dict[str, list[str]]) -> "Figure":
    """All heads of one layer; tokens are named where they fit."""
    heads, length, width = maps.weights.shape[1:]
    columns = min(heads, 4)
    rows = -(-heads // columns)
    named = max(length, width) <= MAX_TOKENS
    side = max(2.4, 0.16 * max(length, width)) if named else 2.4
    # the title has two lines
    figure, axes = new_figure(side * columns, side * rows + 0.4, rows, columns)
    for head, axis in enumerate(axes.flat):
        if head >= heads:
            axis.axis("off")
            continue
        axis.imshow(np.where(maps.visible[layer], maps.weights[layer, head], np.nan), cmap=amounts(), vmin=0, vmax=1)
        axis.set_facecolor("#e4e6ea")
        axis.set_title(f"head {head + 1}", fontsize=9)
        if named:
            axis.set_yticks(range(length), [label(token) for token in names[maps.queries]], fontsize=6)
            axis.set_xticks(range(width), [label(token) for token in names[maps.keys]], fontsize=6, rotation=90)
    figure.suptitle(f"{maps.stack} {maps.kind}-attention, layer {number}\nrows look at columns", fontsize=10)
    return figure
