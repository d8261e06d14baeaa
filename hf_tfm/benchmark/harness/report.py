"""The results of a tool: JSON, tables in Markdown, a plot of the ratios, and a next step."""

import argparse
import json
import platform
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

from .hardware_limits import datasheet_flops_per_second, gemm_flops_per_second
from .interleaved_timing import ModelPair, Timings, spread
from .options import DTYPES
from .plots import plot_ratios
from .workloads import WORKLOADS

__all__ = ["GIGA", "Report", "Result", "ratio_results", "ratio_table", "target_for"]

GIGA = 1e9


@dataclass
class Result:
    """One comparison. `case`: what was measured. `ratio`: ours / peer, of the quantity that `unit` names; for "seconds"
    our time itself. `spread`: that of the ratio over the rounds. `difference`: largest relative difference of the
    outputs; None for different weights. `higher_is_better`: the target is a least value, otherwise a largest."""

    case: str
    ours: str
    peer: str
    ratio: float
    spread: float = 0.0
    rounds: int = 1
    unit: str = "speed"
    difference: float | None = None
    target: float | None = None
    higher_is_better: bool = True

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target."""
        if self.target is None:
            return None
        return self.ratio >= self.target if self.higher_is_better else self.ratio <= self.target

    @property
    def verdict(self) -> str:
        """Whether ours is better than the peer, and whether the target is met."""
        words = []
        if self.unit != "seconds":
            is_better = self.ratio > 1 if self.higher_is_better else self.ratio < 1
            words.append("equal" if abs(self.ratio - 1) < 0.005 else "better" if is_better else "worse")
        if self.met is not None:
            words.append("met" if self.met else "MISSED")
        return ", ".join(words)


@dataclass
class Report:
    """Everything that a tool measured. `models`: a dictionary per model and case. `gemm`: operations per second of a
    matrix product by dtype, before and after the rounds."""

    tool: str
    workload: str | None
    settings: dict[str, Any]
    models: list[dict[str, Any]] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    gemm: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def start(cls, tool: str, args: argparse.Namespace) -> "Report":
        settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
        machine = torch.cuda.get_device_name() if settings.get("device") == "cuda" else platform.machine()
        settings |= {"torch": torch.__version__, "transformers": transformers.__version__, "machine": machine}
        return cls(tool, args.workload, settings)

    @property
    def device_option(self) -> str:
        """What a command needs in order to measure the same device."""
        return " --device cuda" if self.settings.get("device") == "cuda" else ""

    def measure_gemm(self, width: int, dtype: str) -> None:
        """Measure the machine's matrix product at a feed-forward of this width, in fp32 and in `dtype`."""
        for name in dict.fromkeys(("fp32", dtype)):
            rate = gemm_flops_per_second(width, DTYPES[name], self.settings["device"])
            self.gemm.setdefault(name, []).append(rate)

    def add_timings(
        self, timings: Timings, case: str, unit: str, dtype: str, columns: dict[str, dict[str, str]] | None = None
    ) -> None:
        """Add every model's speed, and its useful operations as a share of the machine's matrix product.
        `columns`: further columns, title -> model name -> text."""
        gemm = max(self.gemm[dtype])
        peak = datasheet_flops_per_second(dtype) if self.settings["device"] == "cuda" else None
        for name, model in timings.models.items():
            flops = model.flops / statistics.median(timings.seconds[name])
            extra = {} if peak is None else {"MFU": f"{flops / peak:.1%}"}
            extra |= {title: values[name] for title, values in (columns or {}).items()}
            self.models.append({
                "case": case, "model": name, "unit": unit, "speed": statistics.median(timings.speeds(name)),
                "spread": spread(timings.speeds(name)), "seconds": timings.seconds[name], "units": model.units,
                "flops_per_second": flops, "share_of_gemm": flops / gemm, "columns": extra,
            })  # fmt: skip

    def finish(self, args: argparse.Namespace, next_step: str) -> None:
        """Write the numbers, draw the plot, and print the tables."""
        written = asdict(self)
        written["results"] = [asdict(result) | {"met": result.met} for result in self.results]
        args.json.write_text(json.dumps(written, indent=1), encoding="utf-8")
        files = f"{args.json} (all numbers)"
        if args.png:
            plot_ratios(written["results"], args.png)
            files += f", {args.png} (plot)"
        parts = [self.speed_table(), ratio_table(self.results), self.notes_text()]
        print("\n" + "\n\n".join(part for part in parts if part))
        print(f"\nWritten: {files}.\nNext: {next_step}")

    def notes_text(self) -> str:
        """The measured speed of the machine, and the notes."""
        rates = [
            f"{dtype} {' and '.join(f'{rate / GIGA:.0f}' for rate in rates)} GFLOP/s (before and after)"
            for dtype, rates in self.gemm.items()
        ]
        machine = [f"Matrix product (GEMM) on this machine: {'; '.join(rates)}."] if rates else []
        return "\n".join([*machine, *self.notes])

    def speed_table(self) -> str:
        """Markdown: a row per model and case; nothing for tools that measure no speed."""
        timed = [model for model in self.models if "speed" in model]
        if not timed:
            return ""
        titles = ["case", "model", timed[0]["unit"], "spread", "useful GFLOP/s", "share of GEMM", *timed[0]["columns"]]
        lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
        for model in timed:
            cells = [
                model["case"], model["model"], f"{model['speed']:,.1f}", f"{model['spread']:.0%}",
                f"{model['flops_per_second'] / GIGA:.1f}", f"{model['share_of_gemm']:.0%}", *model["columns"].values(),
            ]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines)


def ratio_table(results: list[Result]) -> str:
    """Markdown: a row per comparison, whether it is better or worse than the peer."""
    lines = [
        "| case | ours | peer | ours / peer | spread | rounds | target | verdict | largest relative difference |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        bound = "at least" if result.higher_is_better else "at most"
        target = "" if result.target is None else f"{bound} {result.target:g}"
        unit = "" if result.unit == "speed" else f" ({result.unit})"
        if result.difference is not None:
            difference = f"{result.difference:.0e}"
        else:
            difference = "" if result.unit == "seconds" else "other weights"
        lines.append(
            f"| {result.case} | {result.ours} | {result.peer} | {result.ratio:.2f}{unit} | {result.spread:.0%} "
            f"| {result.rounds} | {target} | {result.verdict} | {difference} |"
        )
    return "\n".join(lines)


def target_for(workload: str | None, peer: str) -> float | None:
    """The workload's target against this peer; None without one."""
    targets = WORKLOADS[workload].targets if workload else {}
    return targets.get(peer, targets.get(""))


def ratio_results(
    timings: Timings, pairs: list[ModelPair], case: str, workload: str | None, differences: dict[str, float]
) -> list[Result]:
    """The median ratio of speeds of every pair."""
    results = []
    for pair in pairs:
        ratios = timings.ratios(pair)
        results.append(
            Result(
                case, pair.ours, pair.peer, statistics.median(ratios), spread(ratios), len(ratios),
                difference=differences.get(pair.peer), target=target_for(workload, pair.peer),
            )
        )  # fmt: skip
    return results
