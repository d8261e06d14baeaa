"""The files of a comparison: compare.md, compare.csv with one row per run, and compare.json with everything."""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_tfm.privacy import shareable
from hf_tfm.training.utils.files import write_atomically

from .plan import Plan
from .probe_findings import probe_findings
from .report import report_text
from .results import ArmResult
from .runs import SWEEP_SEED, Outcome, Run

__all__ = ["read_failures", "write_files"]

JSON_FILE = "compare.json"


def write_files(plan: Plan, results: list[ArmResult], outcomes: Mapping[Run, Outcome], folder: Path) -> list[Path]:
    """Write all but the picture, and return the paths."""
    texts = {
        # the files may be shared
        "compare.md": shareable(report_text(plan, results, outcomes, str(folder))),
        "compare.csv": runs_csv(plan, outcomes),
        JSON_FILE: json.dumps(without_nan(shareable(everything(plan, results, outcomes))), indent=1) + "\n",
    }
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return [folder / name for name in texts]


def in_order(plan: Plan, outcomes: Mapping[Run, Outcome]) -> list[tuple[Run, Outcome]]:
    """Arm by arm, rates before seeds."""
    arms = [planned.arm.name for planned in plan.arms]
    return sorted(outcomes.items(), key=lambda item: (arms.index(item[0].arm), item[0].seed, item[0].rate))


def run_row(plan: Plan, run: Run, outcome: Outcome) -> dict[str, Any]:
    kind = "rate" if run.seed == SWEEP_SEED else "seed"
    row = {"arm": run.arm, "kind": kind, "seed": run.seed, "rate_factor": plan.request["rate_factor"] ** run.rate}
    return (
        row
        | {"state": outcome.state}
        | outcome.measures
        | {"seconds": outcome.seconds, "peak_memory": outcome.peak_memory, "folder": f"runs/{run.name}"}
    )


def runs_csv(plan: Plan, outcomes: Mapping[Run, Outcome]) -> str:
    """One row per run, one column per measure."""
    rows = [run_row(plan, run, outcome) for run, outcome in in_order(plan, outcomes)]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def everything(plan: Plan, results: list[ArmResult], outcomes: Mapping[Run, Outcome]) -> dict[str, Any]:
    arms = [
        {
            "arm": item.planned.arm.name, "mean": item.mean, "spread": item.spread, "states": item.states,
            "difference": item.difference._asdict() if item.difference else None, "p_holm": item.p,
            "verdict": item.verdict, "seeds_needed": item.needed, "best_rate": item.sweep.best,
            "at_edge": item.sweep.at_edge, "sensitivity": item.sweep.sensitivity,
        }
        for item in results
    ]  # fmt: skip
    runs = [run_row(plan, run, outcome) | {"message": outcome.message} for run, outcome in in_order(plan, outcomes)]
    probes = [
        item._asdict() | {"difference": item.difference and item.difference._asdict()}
        for item in probe_findings(plan, results, outcomes)
    ]
    return {"plan": dataclasses.asdict(plan), "arms": arms, "probes": probes, "runs": runs}


def read_failures(plan: Plan, folder: Path) -> dict[Run, Outcome]:
    """The runs that failed when the files were written. They left no results of their own."""
    try:
        runs = json.loads((folder / JSON_FILE).read_text(encoding="utf-8"))["runs"]
    except FileNotFoundError:
        return {}
    folders = {planned.arm.name: planned.arm.folder for planned in plan.arms}
    factor = math.log(plan.request["rate_factor"])
    return {
        Run(row["arm"], folders[row["arm"]], round(math.log(row["rate_factor"]) / factor), row["seed"]):
            Outcome("failed", message=row["message"])
        for row in runs
        if row["state"] == "failed" and row["arm"] in folders
    }  # fmt: skip


def without_nan(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
