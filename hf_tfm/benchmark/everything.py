"""`hf-tfm bench all`: every work with its target, row by row, each in a process of its own, and one table."""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from .options import refuse_missing_gpu
from .pictures import draw_ratios
from .report import Result, ratio_table
from .works import WORKS, works_on

__all__ = ["main"]


def parse(arguments: list[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="All comparisons of speed and memory, each with the ratio that ours must reach.",
        epilog="It takes about an hour on two CPU cores; --only padded-384 masked-lm loss-memory import some minutes. "
        "Rows of a GPU take about a minute each, compiled ones two.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="Whose rows run without --only.")
    parser.add_argument("--only", nargs="+", choices=WORKS, metavar="WORK", help="Rows; unset: all of the device.")
    parser.add_argument("--list", action="store_true", help="Print the rows, their targets and commands; run nothing.")
    parser.add_argument("--rounds", type=int, help="Rounds that count, at least; unset: each tool's own.")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads of every contender.")
    parser.add_argument("--folder", type=Path, default=Path("runs/bench"), help="Where every row's numbers go.")
    parser.add_argument("--json", type=Path, default=Path("runs/bench.json"), help="Where all results go.")
    parser.add_argument("--png", type=Path, default=Path("runs/bench.png"), help="Where the picture goes.")
    args = parser.parse_args(arguments)
    if not args.list:
        refuse_missing_gpu(parser, args)
    args.only = args.only or works_on(args.device)
    return args


def main(arguments: list[str] | None = None, prog: str = "hf-tfm bench all") -> None:
    args = parse(arguments, prog)
    if args.list:
        print(listed())
        return
    rows: dict[str, Any] = {}
    for path in (args.json, args.png):
        path.parent.mkdir(parents=True, exist_ok=True)
    progress = tqdm(args.only, unit="row")
    for name in progress:
        progress.set_description(name)
        rows[name] = run_row(name, args)
        # after every row: the next may be stopped
        args.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    results = named(rows)
    if results:
        draw_ratios(results, args.png)
    drawn = f", {args.png} (the picture)" if results else ""
    print(f"\n{table(rows)}\n\nWritten: {args.json} (all results), {args.folder} (every number by row){drawn}.")
    print(f"Next: one row by itself: {command_of(args.only[0])}")


def command_of(name: str) -> str:
    return f"hf-tfm bench {WORKS[name].tool} --work {name}"


def listed() -> str:
    """Markdown: a row per work."""
    lines = ["| work | what | target, ours / theirs | command |", "|---|---|---|---|"]
    for name, work in WORKS.items():
        sign = "at most" if work.tool in ("memory", "import") else "at least"
        targets = ", ".join(f"{sign} {target:g}" + f" {peer}".rstrip() for peer, target in work.targets.items())
        lines.append(f"| {name} | {work.says} | {targets} | `{command_of(name)}` |")
    return "\n".join(lines)


def run_row(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Results of a work run in a fresh process, or its "error"; "seconds" that it took."""
    path = (args.folder / f"{name}.json").resolve()
    # what an earlier run left is no result of this one
    path.unlink(missing_ok=True)
    words = ["--work", name, "--json", str(path), "--threads", str(args.threads)]
    words += ["--rounds", str(args.rounds)] if args.rounds else []
    command = [sys.executable, "-m", "hf_tfm.benchmark.row", WORKS[name].tool, *words]
    started = time.perf_counter()
    status, said = watched(command)
    seconds = time.perf_counter() - started
    if status or not path.exists():
        return {"error": said or f"ended with status {status}", "seconds": seconds}
    return {"results": json.loads(path.read_text(encoding="utf-8"))["results"], "seconds": seconds}


def watched(command: list[str]) -> tuple[int, str]:
    """The status of a command, and the last line of its messages, which go on to the screen as they come."""
    end = b""
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE) as process:
        assert process.stderr
        while piece := os.read(process.stderr.fileno(), 4096):
            sys.stderr.write(piece.decode(errors="replace"))
            sys.stderr.flush()
            end = (end + piece)[-4000:]
    lines = end.decode(errors="replace").strip().splitlines()
    return process.returncode, lines[-1] if lines else ""


def named(rows: dict[str, Any]) -> list[dict[str, Any]]:
    """Results of all rows, with the name of the work before what was compared."""
    return [
        found | {"what": f"{name}: {found['what']}"} for name, row in rows.items() for found in row.get("results", [])
    ]


def table(rows: dict[str, Any]) -> str:
    """Markdown: all comparisons; below it rows that could not be run, and how long each took."""
    results = [Result(**{word: value for word, value in found.items() if word != "met"}) for found in named(rows)]
    known = [one.met for one in results if one.met is not None]
    failed = [f"{name} could not be run: {row['error']}" for name, row in rows.items() if "error" in row]
    taken = ", ".join(f"{name} {row['seconds']:.0f}" for name, row in rows.items())
    met = [f"{sum(known)} of {len(known)} targets met."] if known else []
    lines = [ratio_table(results), "", *met, *failed, f"Seconds: {taken}."]
    return "\n".join(lines)
