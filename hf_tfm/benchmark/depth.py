"""`hf-tfm bench depth`: how well many blocks train together, wiring by wiring.

Narrow decoders learn from the documentation that Python carries. Depth is sound where the test loss falls well below
what constants reach, nothing is ever infinite, and the first block's gradient is about as large as the last's."""

import argparse
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from .deep_training import WIRINGS, DepthSettings, Text, train_wiring
from .pictures import draw_depth

__all__ = ["main", "ratios", "still_falling"]

HELP = {
    "blocks": "Number of blocks.",
    "hidden_size": "Width of the residual stream, elements.",
    "heads": "Attention heads; must divide hidden_size.",
    "steps": "Optimiser steps.",
    "batch_size": "Rows in a step.",
    "block_size": "Tokens in a row.",
    "vocab_size": "Tokens of the byte-level BPE that is trained on the text, special tokens included.",
    "learning_rate": "Peak rate of AdamW, for word vectors and norms; Muon's follows from the wiring and the depth.",
    "warmup_steps": "Steps over which both rates rise; they fall over the last 60 in 100.",
    "log_every": "Steps between two records of the loss and of every block's gradient.",
    "seed": "Of the weights and of the order of the text.",
}


def parse(arguments: list[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Train decoders of many blocks in several wirings; compare losses and gradients by depth.",
        epilog="200 blocks take about 20 minutes per wiring on one CPU core; --blocks 48 --steps 60 about one.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    for field in fields(DepthSettings):
        kind = float if isinstance(field.default, float) else int
        parser.add_argument(f"--{field.name}", type=kind, default=field.default, help=HELP[field.name])
    parser.add_argument(
        "--wirings", nargs="+", choices=WIRINGS, default=list(WIRINGS), help="Which to train, in this order."
    )
    parser.add_argument(
        "--json",
        type=Path,
        default=Path("runs/depth.json"),
        help="Where everything recorded goes; wirings found there with the same settings are not trained again.",
    )
    parser.add_argument("--png", type=Path, default=Path("runs/depth.png"), help="Where the picture goes.")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None, prog: str = "hf-tfm bench depth") -> None:
    args = parse(arguments, prog)
    settings = DepthSettings(**{field.name: getattr(args, field.name) for field in fields(DepthSettings)})
    report = begun(args.json, settings)
    if missing := [name for name in args.wirings if name not in report["runs"]]:
        text = Text(settings)
        report["text"], report["unigram"] = text.data.summary(), text.unigram
        for name in missing:
            report["runs"][name] = train_wiring(name, settings, text)
            # after every wiring: the next may be stopped
            write(args.json, report)
    args.png.parent.mkdir(parents=True, exist_ok=True)
    draw_depth(report, args.png)
    print(f"\n{report['text']}\n\n{table(report)}\n\nWritten: {args.json} (every record), {args.png} (the picture).")
    print(
        f"Next: look at {args.png}; another depth: {prog} --blocks 48 --json runs/depth48.json --png runs/depth48.png"
    )


def begun(path: Path, settings: DepthSettings) -> dict[str, Any]:
    """The report at `path` if it has the same settings, otherwise a new one.
    Raises ValueError if there is one with other settings: it took long to make."""
    asked = asdict(settings)
    if not path.exists():
        return {"settings": asked, "runs": {}}
    report = json.loads(path.read_text(encoding="utf-8"))
    if report["settings"] != asked:
        other = {name: value for name, value in report["settings"].items() if asked.get(name) != value}
        raise ValueError(f"{path} was measured with other settings ({other}); give another --json, or delete it.")
    return report


def write(path: Path, report: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report), encoding="utf-8")


def ratios(run: dict[str, Any]) -> list[float]:
    """First block's gradient norm divided by the last's, at every logged step."""
    return [norms[0] / norms[-1] for norms in run["gradient_norms"].values()]


def still_falling(run: dict[str, Any]) -> bool:
    """Whether the last validation loss is the lowest; no where the run broke before the first."""
    losses = list(run["validation"].values())
    return bool(losses) and losses[-1] == min(losses)


def table(report: dict[str, Any]) -> str:
    """Markdown: a row per wiring, and the two marks that constant predictions set."""
    unigram = report["unigram"]
    lines = [
        "| wiring | test loss, nats per token | below unigram entropy | first / last gradient norm | always finite "
        "| still falling | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, run in report["runs"].items():
        around = ratios(run)
        finite = "yes" if run["broken_at"] is None else f"until step {run['broken_at']}"
        lines.append(
            f"| {name} | {run['test']:.3f} | {unigram['entropy'] - run['test']:.3f} "
            f"| {min(around):.3g} to {max(around):.3g} | {finite} | {'yes' if still_falling(run) else 'no'} "
            f"| {run['seconds']:.0f} |"
        )
    return "\n".join(
        [
            *lines,
            "",
            f"Unigram, nats per token: entropy of the test split {unigram['entropy']:.3f}; frequencies of the training "
            f"split reach {unigram['learnt']:.3f} on it.",
        ]
    )
