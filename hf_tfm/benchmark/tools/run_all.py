"""`hf-tfm bench all`: every workload with its target, each in a process of its own, and one table of all."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from ..harness.options import check_device, count, make_output_folders
from ..harness.plots import plot_ratios
from ..harness.report import Result, ratio_table
from ..harness.subprocesses import run_and_forward_stderr
from ..harness.workloads import WORKLOADS, workloads_on_device

__all__ = ["main"]


def parse(arguments: list[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Speed and memory compared with other models. Every workload has a target.",
        epilog="All takes about an hour on two CPU cores; --only padded-384 masked-lm loss-memory import some minutes. "
        "Workloads of a GPU take about a minute each, compiled ones two.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="Run all workloads of this device if --only is not given.",
    )
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, metavar="WORKLOAD", help="Run these workloads only.")
    parser.add_argument("--list", action="store_true", help="Print workloads, targets and commands, and run nothing.")
    parser.add_argument(
        "--rounds", type=count, help="Least number of counted rounds. Without it, that of each tool or workload."
    )
    parser.add_argument("--threads", type=count, default=torch.get_num_threads(), help="CPU threads of every model.")
    parser.add_argument(
        "--output_dir", type=Path, default=Path("runs/bench"), help="Folder for the numbers of every workload."
    )
    parser.add_argument("--json", type=Path, default=Path("runs/bench.json"), help="File for all results.")
    parser.add_argument("--png", type=Path, default=Path("runs/bench.png"), help="File for the plot.")
    args = parser.parse_args(arguments)
    if not args.list:
        check_device(parser, args)
        make_output_folders(parser, args.json, args.png, args.output_dir / "report.json")
    args.only = args.only or workloads_on_device(args.device)
    return args


def main(arguments: list[str] | None = None, prog: str = "hf-tfm bench all") -> None:
    args = parse(arguments, prog)
    if args.list:
        print(workload_table())
        return
    outcomes: dict[str, Any] = {}
    progress = tqdm(args.only, unit="workload")
    for name in progress:
        progress.set_description(name)
        outcomes[name] = run_workload(name, args)
        # after every workload: the next may be interrupted
        args.json.write_text(json.dumps(outcomes, indent=1), encoding="utf-8")
    results = all_results(outcomes)
    if results:
        plot_ratios(results, args.png)
    plot = f", {args.png} (plot)" if results else ""
    print(f"\n{outcome_table(outcomes)}\n\nWritten: {args.json} (results), {args.output_dir} (all numbers){plot}.")
    print(f"Next: one workload by itself: {' '.join(['hf-tfm', *command_of(args.only[0])])}")


def command_of(name: str) -> list[str]:
    """The arguments of `hf-tfm` that run a workload by itself."""
    return ["bench", WORKLOADS[name].tool, "--workload", name]


def workload_table() -> str:
    """Markdown: a row per workload."""
    lines = ["| workload | what it measures | target, ours / peer | command |", "|---|---|---|---|"]
    for name, workload in WORKLOADS.items():
        bound = "at most" if workload.tool in ("memory", "import") else "at least"
        targets = ", ".join(
            f"{bound} {target:g}{f' ({peer})' if peer else ''}" for peer, target in workload.targets.items()
        )
        lines.append(f"| {name} | {workload.description} | {targets} | `hf-tfm {' '.join(command_of(name))}` |")
    return "\n".join(lines)


def run_workload(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Run a workload in a fresh process. Returns its "results" or its "error", and the "seconds" that it took."""
    path = (args.output_dir / f"{name}.json").resolve()
    # results of an earlier run must not be taken for those of this one
    path.unlink(missing_ok=True)
    options = ["--json", str(path), "--threads", str(args.threads)]
    if args.rounds:
        options += ["--rounds", str(args.rounds)]
    started = time.perf_counter()
    # the command of --list itself, so that what a user runs is what the table shows
    status, last_line = run_and_forward_stderr([sys.executable, "-m", "hf_tfm.cli", *command_of(name), *options])
    seconds = time.perf_counter() - started
    if status or not path.exists():
        return {"error": last_line or f"ended with status {status}", "seconds": seconds}
    return {"results": json.loads(path.read_text(encoding="utf-8"))["results"], "seconds": seconds}


def all_results(outcomes: dict[str, Any]) -> list[dict[str, Any]]:
    """The results of all workloads, with the name of the workload before each case."""
    return [
        result | {"case": f"{name}: {result['case']}"}
        for name, outcome in outcomes.items()
        for result in outcome.get("results", [])
    ]


def outcome_table(outcomes: dict[str, Any]) -> str:
    """Markdown: all comparisons; below them workloads that failed, and how long each took."""
    results = [
        Result(**{name: value for name, value in result.items() if name != "met"}) for result in all_results(outcomes)
    ]
    met = [result.met for result in results if result.met is not None]
    summary = [f"{sum(met)} of {len(met)} targets met."] if met else []
    failed = [f"{name} failed: {outcome['error']}" for name, outcome in outcomes.items() if "error" in outcome]
    seconds = ", ".join(f"{name} {outcome['seconds']:.0f}" for name, outcome in outcomes.items())
    return "\n".join([ratio_table(results), "", *summary, *failed, f"Seconds: {seconds}."])
