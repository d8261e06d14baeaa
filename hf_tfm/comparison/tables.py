"""Tables of what a comparison found beside its result: probes, time and memory."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from .plan import Plan
from .probe_findings import ProbeFinding
from .probes import PROBES
from .results import ArmResult
from .runs import Outcome, Run

__all__ = ["number", "probes_text", "table", "time_table"]


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns are aligned."""
    cells = [list(headers), *(list(row) for row in rows)]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(headers))]
    lines = [f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in cells]
    return "\n".join([lines[0], f"|{'|'.join('-' * (width + 2) for width in widths)}|", *lines[1:]])


def number(value: float, form: str = ".4f") -> str:
    return "" if math.isnan(value) else f"{value:{form}}"


def probes_text(plan: Plan, findings: list[ProbeFinding]) -> str:
    """The table of all measures, what each is, and why an arm has none."""
    rows = []
    for item in findings:
        row = [item.measure, item.arm, "cannot" if item.cannot else number(item.mean), number(item.spread)]
        found = item.difference
        if found is None or math.isnan(found.mean):
            rows.append([*row, "", ""])
        else:
            interval = "" if math.isnan(found.low) else f"{found.low:+.4f} to {found.high:+.4f}"
            rows.append([*row, number(found.mean, "+.4f"), interval])
    labels = {measure: text for name in plan.request["probes"] for measure, text in PROBES[name].labels.items()}
    lines = [f"- {measure}: {text}." for measure, text in labels.items()]
    reasons = dict.fromkeys((item.arm, item.cannot) for item in findings if item.cannot)
    lines += [f"- {arm} cannot: {reason}." for arm, reason in reasons]
    note = (
        "Differences from the baseline are paired by seed. Their 95 % intervals are not corrected for the number of "
        "probes and arms: a probe describes a design, and gets no verdict."
    )
    headers = ("probe", "arm", "mean", "sd", "difference", "95 % interval")
    return "\n\n".join([table(headers, rows), "\n".join(lines), note])


def time_table(results: list[ArmResult], outcomes: Mapping[Run, Outcome]) -> str:
    """Seconds of training and peak memory of each arm, over all of its runs."""
    rows = []
    for item in results:
        ended = [found for run, found in outcomes.items() if run.arm == item.planned.arm.name]
        seconds = median([found.seconds for found in ended])
        memory = max((found.peak_memory for found in ended if math.isfinite(found.peak_memory)), default=math.nan)
        step = seconds / item.planned.steps
        rows.append([item.planned.arm.name, number(seconds, ".1f"), number(step, ".4f"), number(memory / 1e6, ",.0f")])
    return table(("arm", "seconds of training", "s / step", "peak memory, MB"), rows)


def median(values: list[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return statistics.median(finite) if finite else math.nan
