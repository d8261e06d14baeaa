"""What a probe found in a run, in the run's folder: written whole or not at all, and read from there afterwards."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hf_tfm.training.utils.files import write_atomically

from . import PROBES
from .base import ProbedRun, ProbeResult

__all__ = ["measure_probes", "read_probe"]


def probe_file(folder: Path, name: str) -> Path:
    return folder / f"probe_{name}.json"


def measure_probes(run_args: Any, names: Iterable[str], data: Any = None) -> None:
    """Run the probes that have no result in the folder of a finished run. `data`: those that the run read, if they are
    still at hand."""
    run = ProbedRun(run_args, data)
    for name in names:
        if read_probe(run.folder, name) is None:
            result = PROBES[name]().measure(run)
            write_atomically(probe_file(run.folder, name), json.dumps(result.values(), indent=1) + "\n")


def read_probe(folder: Path, name: str) -> ProbeResult | None:
    """The result of a probe; None if it has not been run."""
    try:
        return ProbeResult.from_values(json.loads(probe_file(folder, name).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
