"""`hf-tfm bench length`: memory and time of one forward and backward pass against the length of the sequence.

Every length runs in a fresh process. Memory is its peak resident memory. The part that imports and the model take
before anything runs is reported too."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..harness.memory_usage import GIB
from ..harness.options import count, make_output_folders
from ..harness.plots import plot_length
from ..harness.subprocesses import run_module_in_fresh_process
from .length_worker import LengthSettings

__all__ = ["main", "measure_in_fresh_process"]

LENGTHS = (1024, 2048, 4096, 8192, 16384, 32768)


def parse(arguments: list[str] | None, prog: str) -> argparse.Namespace:
    default = LengthSettings()
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Peak memory and time of a decoder's forward and backward pass, with gradient checkpointing.",
        epilog="Time grows with the square of the length: the default lengths take about ten minutes on one CPU core.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--lengths", nargs="+", type=count, default=list(LENGTHS), help="Sequence lengths, tokens.")
    parser.add_argument(
        "--attention", nargs="+", choices=("full", "sliding"), default=["full", "sliding"],
        help="Attention of all layers; each is measured by itself.",
    )  # fmt: skip
    parser.add_argument(
        "--sliding_window", type=count, default=default.sliding_window,
        help="Keys that a query of sliding attention sees, its own included.",
    )  # fmt: skip
    parser.add_argument("--hidden_size", type=count, default=default.hidden_size, help="Width, elements.")
    parser.add_argument("--layers", type=count, default=default.layers, help="Number of layers.")
    parser.add_argument(
        "--heads", type=count, default=default.heads, help="Attention heads; must divide --hidden_size."
    )
    parser.add_argument(
        "--vocab_size", type=count, default=default.vocab_size,
        help="Entries of the vocabulary; logits take length x vocab_size x 4 bytes.",
    )  # fmt: skip
    parser.add_argument(
        "--attn_implementation",
        help="Attention implementation. Default: sdpa for full, sdpa_sliding_window for sliding attention.",
    )
    parser.add_argument("--json", type=Path, default=Path("runs/length.json"), help="File for all numbers.")
    parser.add_argument("--png", type=Path, default=Path("runs/length.png"), help="File for the plot.")
    args = parser.parse_args(arguments)
    make_output_folders(parser, args.json, args.png)
    return args


def main(arguments: list[str] | None = None, prog: str = "hf-tfm bench length") -> None:
    args = parse(arguments, prog)
    shared = {name: getattr(args, name) for name in asdict(LengthSettings()) if name not in ("length", "attention")}
    points = [LengthSettings(length, kind, **shared) for length in sorted(args.lengths) for kind in args.attention]
    report: dict[str, Any] = {"points": []}
    progress = tqdm(points, unit="point")
    for point in progress:
        progress.set_description(f"{point.attention}, {point.length} tokens")
        report["points"].append(measure_in_fresh_process(point))
        # after every point: the next takes four times as long and may run out of memory
        args.json.write_text(json.dumps(report), encoding="utf-8")
    plot_length(report, args.png)
    print(f"\n{table(report)}\n\nWritten: {args.json} (all numbers), {args.png} (plot).")
    print(f"Next: look at {args.png}; a longer sequence: {prog} --lengths {2 * points[-1].length} --attention full")


def measure_in_fresh_process(settings: LengthSettings) -> dict[str, Any]:
    """What `length_worker` measures. Raises ChildProcessError if it fails."""
    return run_module_in_fresh_process("hf_tfm.benchmark.tools.length_worker", asdict(settings), str(settings))


def table(report: dict[str, Any]) -> str:
    """Markdown: a row per point."""
    lines = ["| attention | tokens | peak GiB | imports and model, GiB | seconds |", "|---|---|---|---|---|"]
    lines += [
        f"| {point['attention']} | {point['length']:,} | {point['peak_bytes'] / GIB:.2f} "
        f"| {point['idle_bytes'] / GIB:.2f} | {point['seconds']:.1f} |"
        for point in report["points"]
    ]
    return "\n".join(lines)
