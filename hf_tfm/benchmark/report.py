"""What a tool found, in one form for all: JSON, tables in Markdown, a picture, and what to do next."""

import argparse
import json
import platform
import statistics
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import transformers

from .ceilings import gemm_rate, peak_rate
from .measure import Match, Timed, spread
from .options import DTYPES
from .pictures import draw_ratios
from .works import WORKS

__all__ = ["GIGA", "Report", "Result", "ratio_table", "results_of", "target_of"]

GIGA = 1e9


@dataclass
class Result:
    """One comparison. `ratio`: ours / theirs of what `unit` says. `spread`: of the ratio, a share of it.
    `difference`: largest relative difference of the answers; None where weights differ. `least`: whether the target is
    the least that is enough, rather than the most that is allowed."""

    what: str
    ours: str
    theirs: str
    ratio: float
    spread: float = 0.0
    rounds: int = 1
    unit: str = "speed"
    difference: float | None = None
    target: float | None = None
    least: bool = True

    @property
    def verdict(self) -> str:
        """What the ratio says by itself, and beside its target."""
        met = "" if self.target is None else ("met" if self.met else "MISSED")
        if self.unit == "seconds":
            return met
        better = self.ratio > 1 if self.least else self.ratio < 1
        word = "as good" if abs(self.ratio - 1) < 0.005 else "ahead" if better else "behind"
        return ", ".join(filter(None, [word, met]))

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.ratio >= self.target if self.least else self.ratio <= self.target


@dataclass
class Report:
    """Everything a tool measured. `gemm`: operations per second by dtype, before and after the rounds."""

    tool: str
    work: str | None
    settings: dict[str, Any]
    contenders: list[dict[str, Any]] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    gemm: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def begun(cls, tool: str, args: argparse.Namespace) -> "Report":
        words = {name: str(value) if name in ("json", "png") else value for name, value in vars(args).items()}
        machine = torch.cuda.get_device_name() if words.get("device") == "cuda" else platform.machine()
        words |= {"torch": torch.__version__, "transformers": transformers.__version__, "machine": machine}
        return cls(tool, args.work, words)

    @property
    def where(self) -> str:
        """What to add to a command so that it measures the same device."""
        return " --device cuda" if self.settings.get("device") == "cuda" else ""

    def measure_gemm(self, width: int, dtype: str) -> None:
        """Add the machine's own rate at a feed-forward of this width, in fp32 and in the dtype asked for."""
        for name in dict.fromkeys(("fp32", dtype)):
            self.gemm.setdefault(name, []).append(gemm_rate(width, DTYPES[name], self.settings["device"]))

    def add(self, timed: Timed, what: str, unit: str, dtype: str, **more: dict[str, Any]) -> None:
        """A row for every contender of a race: its speed, and its useful operations as a share of the machine's.
        `more`: further columns, from the contender's name to its value."""
        ceiling, peak = max(self.gemm[dtype]), peak_rate(dtype) if self.settings["device"] == "cuda" else None
        for name, one in timed.contenders.items():
            seconds = statistics.median(timed.seconds[name])
            row = {
                "what": what, "name": name, "unit": unit, "speed": statistics.median(timed.speeds(name)),
                "spread": spread(timed.speeds(name)), "seconds": timed.seconds[name], "units": one.units,
                "flops": one.flops / seconds, "share": one.flops / seconds / ceiling,
            }  # fmt: skip
            stated = {} if peak is None else {"MFU": f"{row['flops'] / peak:.1%}"}
            self.contenders.append(row | stated | {title: values[name] for title, values in more.items()})

    def finish(self, args: argparse.Namespace, next_step: str) -> None:
        """Write, print, draw, and say what to do next."""
        args.json.parent.mkdir(parents=True, exist_ok=True)
        written = asdict(self)
        written["results"] = [asdict(one) | {"met": one.met} for one in self.results]
        args.json.write_text(json.dumps(written, indent=1), encoding="utf-8")
        places = f"{args.json} (every number)"
        if args.png:
            args.png.parent.mkdir(parents=True, exist_ok=True)
            draw_ratios(written["results"], args.png)
            places += f", {args.png} (the picture)"
        print("\n" + "\n\n".join(filter(None, [self.speed_table(), ratio_table(self.results), self.said()])))
        print(f"\nWritten: {places}.\nNext: {next_step}")

    def said(self) -> str:
        """The machine's own rates, and what else was noticed."""
        rates = [
            f"{dtype} {' and '.join(f'{rate / GIGA:.0f}' for rate in rates)} GF/s (first and last)"
            for dtype, rates in self.gemm.items()
        ]
        machine = [f"This machine's own matrix product: {'; '.join(rates)}."] if rates else []
        return "\n".join([*machine, *self.notes])

    def speed_table(self) -> str:
        rows = [row for row in self.contenders if "speed" in row]
        if not rows:
            return ""
        extra = [title for title in rows[0] if title not in SPEED_COLUMNS]
        lines = [
            f"| work | contender | {rows[0]['unit']} | spread | useful GF/s | of the matrix product |"
            + "".join(f" {title} |" for title in extra),
            "|---" * (6 + len(extra)) + "|",
        ]
        for row in rows:
            cells = [row["what"], row["name"], f"{row['speed']:,.1f}", f"{row['spread']:.0%}",
                     f"{row['flops'] / GIGA:.1f}", f"{row['share']:.0%}", *(row[title] for title in extra)]  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)


SPEED_COLUMNS = ("what", "name", "unit", "speed", "spread", "seconds", "units", "flops", "share")


def ratio_table(results: list[Result]) -> str:
    """Markdown: a row per comparison; a ratio that speaks against us stands like any other."""
    lines = [
        "| work | ours | against | ratio | spread | rounds | target | verdict | largest difference |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        sign = "at least" if one.least else "at most"
        target = "" if one.target is None else f"{sign} {one.target:g}"
        difference = "" if one.unit == "seconds" else "other weights"
        if one.difference is not None:
            difference = f"{one.difference:.0e}"
        unit = "" if one.unit == "speed" else f" ({one.unit})"
        lines.append(
            f"| {one.what} | {one.ours} | {one.theirs} | {one.ratio:.2f}{unit} | {one.spread:.0%} | {one.rounds} "
            f"| {target} | {one.verdict} | {difference} |"
        )
    return "\n".join(lines)


def target_of(work: str | None, peer: str) -> float | None:
    """What the work asks for against this peer; None where it asks for nothing."""
    targets = WORKS[work].targets if work else {}
    return targets.get(peer, targets.get(""))


def results_of(
    timed: Timed, matches: list[Match], what: str, work: str | None, differences: dict[str, float]
) -> list[Result]:
    """The median ratio of speeds of every match."""
    made = []
    for match in matches:
        ratios = timed.ratios(match)
        made.append(
            Result(
                what, match.ours, match.theirs, statistics.median(ratios), spread(ratios), len(ratios),
                difference=differences.get(match.theirs), target=target_of(work, match.theirs),
            )
        )  # fmt: skip
    return made
