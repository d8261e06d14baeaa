"""`hf-tfm bench length`: memory and time of one forward and backward pass against the length of the row.

Every point runs in a fresh process. Memory is the peak of its resident set, beside what the process already held with
its imports and the model and nothing run."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from .length_point import Point
from .pictures import GIB, draw_length
from .resident import in_fresh_process

__all__ = ["main", "run_point"]

LENGTHS = (1024, 2048, 4096, 8192, 16384, 32768)


def parse(arguments: list[str] | None, prog: str) -> argparse.Namespace:
    default = Point()
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Peak memory and time of a decoder's forward and backward pass, with gradient checkpointing.",
        epilog="Time grows with the square of the length: the default lengths take about ten minutes on one CPU core.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--lengths", nargs="+", type=int, default=list(LENGTHS), help="Tokens in the row.")
    parser.add_argument(
        "--attention", nargs="+", choices=("full", "sliding"), default=["full", "sliding"], help="Kinds of all layers."
    )
    parser.add_argument(
        "--window", type=int, default=default.window, help="Keys that sliding attention sees, the query included."
    )
    parser.add_argument("--hidden_size", type=int, default=default.hidden_size, help="Width, elements.")
    parser.add_argument("--layers", type=int, default=default.layers, help="Number of blocks.")
    parser.add_argument("--heads", type=int, default=default.heads, help="Attention heads; must divide hidden_size.")
    parser.add_argument(
        "--vocab_size", type=int, default=default.vocab_size, help="Logits are length x vocab_size x 4 bytes."
    )
    parser.add_argument(
        "--implementation",
        help="Attention kernel; left out: sdpa, and sdpa_banded for sliding layers.",
    )
    parser.add_argument("--json", type=Path, default=Path("runs/length.json"), help="Where every number goes.")
    parser.add_argument("--png", type=Path, default=Path("runs/length.png"), help="Where the picture goes.")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None, prog: str = "hf-tfm bench length") -> None:
    args = parse(arguments, prog)
    shared = {name: getattr(args, name) for name in asdict(Point()) if name not in ("length", "attention")}
    points = [Point(length, kind, **shared) for length in sorted(args.lengths) for kind in args.attention]
    report: dict[str, Any] = {"points": []}
    for path in (args.json, args.png):
        path.parent.mkdir(parents=True, exist_ok=True)
    progress = tqdm(points, unit="point")
    for point in progress:
        progress.set_description(f"{point.attention}, {point.length} tokens")
        report["points"].append(run_point(point))
        # after every point: the next takes four times as long, or all memory
        args.json.write_text(json.dumps(report), encoding="utf-8")
    draw_length(report, args.png)
    print(f"\n{table(report)}\n\nWritten: {args.json} (every number), {args.png} (the picture).")
    print(f"Next: look at {args.png}; a longer row: {prog} --lengths {2 * points[-1].length} --attention full")


def run_point(point: Point) -> dict[str, Any]:
    """What a fresh process measures. Raises RuntimeError with the end of its messages if it fails."""
    return in_fresh_process("hf_tfm.benchmark.length_point", asdict(point), str(point))


def table(report: dict[str, Any]) -> str:
    """Markdown: a row per point."""
    lines = ["| attention | tokens | peak GiB | of them idle | seconds |", "|---|---|---|---|---|"]
    lines += [
        f"| {point['attention']} | {point['length']:,} | {point['peak_bytes'] / GIB:.2f} "
        f"| {point['idle_bytes'] / GIB:.2f} | {point['seconds']:.1f} |"
        for point in report["points"]
    ]
    return "\n".join(lines)
