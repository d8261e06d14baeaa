"""`hf-tfm bench depth`: whether hundreds of layers train together, for three variants of residual and norm.

Narrow decoders learn from Python's own documentation. A depth trains well if the test loss falls well below that of
constant predictions, nothing becomes infinite, and the gradient of the first layer is about as large as the last's."""

import argparse
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ..harness.options import count, make_output_folders
from ..harness.plots import plot_depth
from .depth_training import VARIANTS, DepthData, DepthSettings, train_variant

__all__ = ["gradient_norm_ratios", "is_still_falling", "main"]

HELP = {
    "layers": "Number of layers.",
    "hidden_size": "Width of the residual stream, elements.",
    "heads": "Attention heads; must divide --hidden_size.",
    "steps": "Optimiser steps.",
    "batch_size": "Sequences in a step.",
    "block_size": "Tokens in a sequence.",
    "vocab_size": "Tokens of the byte-level BPE that is trained on the text, special tokens included.",
    "learning_rate": "Peak learning rate of AdamW, for embeddings and norms; Muon's follows from variant and depth.",
    "warmup_steps": "Steps over which both rates rise; they fall over the last 60 %% of all steps.",
    "logging_steps": "Steps between two records of the loss and of every layer's gradient norm.",
    "seed": "Seed of the weights and of the order of the text.",
}


def parse(arguments: list[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Train deep decoders in several variants of residual and norm; compare losses, and gradients by "
        "layer.",
        epilog="200 layers take about 20 minutes per variant on one CPU core; --layers 48 --steps 60 about one.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    for field in fields(DepthSettings):
        is_count = field.name not in ("seed", "warmup_steps")
        value_type = float if isinstance(field.default, float) else count if is_count else int
        parser.add_argument(f"--{field.name}", type=value_type, default=field.default, help=HELP[field.name])
    parser.add_argument(
        "--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="Variants to train, in this order."
    )
    parser.add_argument(
        "--json",
        type=Path,
        default=Path("runs/depth.json"),
        help="File for everything recorded; variants that it holds with the same settings are not trained again.",
    )
    parser.add_argument("--png", type=Path, default=Path("runs/depth.png"), help="File for the plot.")
    args = parser.parse_args(arguments)
    make_output_folders(parser, args.json, args.png)
    return args


def main(arguments: list[str] | None = None, prog: str = "hf-tfm bench depth") -> None:
    args = parse(arguments, prog)
    settings = DepthSettings(**{field.name: getattr(args, field.name) for field in fields(DepthSettings)})
    report = load_or_start_report(args.json, settings)
    if missing := [name for name in args.variants if name not in report["runs"]]:
        data = DepthData(settings)
        report["data"], report["unigram"] = data.data.summary(), data.unigram
        for name in missing:
            report["runs"][name] = train_variant(name, settings, data)
            # after every variant: the next may be interrupted
            args.json.write_text(json.dumps(report), encoding="utf-8")
    plot_depth(report, args.png)
    print(f"\n{report['data']}\n\n{table(report)}\n\nWritten: {args.json} (all numbers), {args.png} (plot).")
    print(
        f"Next: look at {args.png}; another depth: {prog} --layers 48 --json runs/depth48.json --png runs/depth48.png"
    )


def load_or_start_report(path: Path, settings: DepthSettings) -> dict[str, Any]:
    """The report at `path`, or a new one if there is no file. Raises ValueError if the file has other settings, rather
    than overwriting a long measurement."""
    wanted = asdict(settings)
    if not path.exists():
        return {"settings": wanted, "runs": {}}
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError:
        report = None
    if not isinstance(report, dict) or not {"settings", "runs"} <= report.keys():
        raise ValueError(f"{path} is no report of this tool; give another --json, or delete the file.")
    if report["settings"] != wanted:
        other = {name: value for name, value in report["settings"].items() if wanted.get(name) != value}
        raise ValueError(f"{path} was measured with other settings ({other}); give another --json, or delete the file.")
    return report


def gradient_norm_ratios(run: dict[str, Any]) -> list[float]:
    """The first layer's gradient norm divided by the last layer's, at every logged step."""
    return [norms[0] / norms[-1] for norms in run["gradient_norms"].values()]


def is_still_falling(run: dict[str, Any]) -> bool:
    """Whether the last validation loss is the lowest; False if the run ended before the first."""
    losses = list(run["validation"].values())
    return bool(losses) and losses[-1] == min(losses)


def table(report: dict[str, Any]) -> str:
    """Markdown: a row per variant, and below it the loss of constant predictions."""
    unigram = report["unigram"]
    lines = [
        "| variant | test loss, nats per token | below unigram entropy | first / last layer's gradient norm "
        "| always finite | still falling | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, run in report["runs"].items():
        ratios, step = gradient_norm_ratios(run), run["first_nonfinite_step"]
        finite = "yes" if step is None else f"until step {step}"
        lines.append(
            f"| {name} | {run['test']:.3f} | {unigram['entropy'] - run['test']:.3f} "
            f"| {min(ratios):.3g} to {max(ratios):.3g} | {finite} | {'yes' if is_still_falling(run) else 'no'} "
            f"| {run['seconds']:.0f} |"
        )
    note = (
        f"Unigram, nats per token: entropy of the test split {unigram['entropy']:.3f}; token frequencies of the "
        f"training split reach {unigram['cross_entropy']:.3f} on it."
    )
    return "\n".join([*lines, "", note])
