"""The table of faults: its rows, their trials, and the page that shows them."""

import signal
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch
import transformers
from tqdm import tqdm

from . import damages, hostile_files, interruptions, pushes, remote_code

__all__ = ["ROWS", "Row", "read_page", "run_row", "write_page"]


@dataclass(frozen=True)
class Row:
    """A fault. `lost`: what counts as lost. `prepare` is called once with an empty folder, `attempt` for each of the
    `trials` with what it returned, random numbers, and a name that ends with the number of the trial; it returns what
    was lost, in words, or None."""

    lost: str
    prepare: Callable[[Path], Any]
    attempt: Callable[[Any, Random, str], str | None]
    trials: int


SAME_END = "the same command does not go on, or ends with other weights or losses than the unbroken run"
LOADED = "a load, or the next one, fails or gives other outputs than the saved model"
SAID = f"no sentence that names what to do (a traceback); {SAME_END}"
# fault -> its row
ROWS: dict[str, Row] = {
    **{
        f"killed: {name}": Row(SAME_END, partial(interruptions.prepare, name), interruptions.kill, 20)
        for name in interruptions.RUNS
    },
    **{
        f"ended by {number.name}": Row(
            SAID, partial(interruptions.prepare, "causal-lm"), partial(interruptions.end_by_signal, number), 30
        )
        for number in (signal.SIGTERM, signal.SIGINT)
    },
    "full disk": Row(SAID, partial(interruptions.prepare, "causal-lm"), interruptions.fill_the_disk, 30),
    **{
        f"file of the last checkpoint {damage}": Row(
            SAME_END, damages.prepare, partial(damages.damage_checkpoint, damage), 30
        )
        for damage in damages.DAMAGES
    },
    "another file of a killed run damaged": Row(SAID, damages.prepare, damages.damage_other_file, 40),
    "call of the Hub failed": Row(
        f"no word of the failure; a last push that is not whole; {SAID}", pushes.prepare, pushes.fail_once, 20
    ),
    "first loads from the Hub by eight processes at once": Row(
        LOADED, remote_code.prepare, remote_code.load_at_once, 12
    ),
    "first load from the Hub interrupted": Row(LOADED, remote_code.prepare, remote_code.interrupt, 24),
    "checkpoint with code that is not trusted": Row(
        "its code runs", hostile_files.prepare_code, hostile_files.open_untrusted, len(hostile_files.WAYS)
    ),
    "damaged or hostile checkpoint converted": Row(
        "it is converted, ends in another error than a refusal, or its code runs",
        hostile_files.prepare_native,
        hostile_files.convert_damaged,
        len(hostile_files.MODEL_DAMAGES),
    ),
}

INTRODUCTION = """# Reliability: what was lost under faults

Each trial breaks a small run, a load or a checkpoint in one way, at a random moment or place; a run is then given the
same command again. Half of the moments of a kill, a signal or a full disk lie where a checkpoint is written. Weights
are compared bit by bit.
`python -m tests.faults --write model_cards/reliability.md` writes this page (some 25 minutes on two idle cores);
`--only` repeats single rows, `--trials` and `--seed` choose how many faults there are, and which.
"""
HEAD = "| fault | trials | lost | what counts as lost |\n|---|---|---|---|\n"


def conditions(seed: int) -> str:
    """The line above the table. Trials that are shown together have it in common."""
    return f"torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}, seed {seed}"


def run_row(name: str, trials: int, seed: int, jobs: int, folder: Path, progress: tqdm) -> list[str]:
    """What was lost in the trials of a row, one text for each trial that lost anything. `jobs` trials run at once."""
    row = ROWS[name]
    folder.mkdir(parents=True)
    prepared = row.prepare(folder)
    progress.update()

    def attempt(trial: int) -> str | None:
        try:
            found = row.attempt(prepared, Random(f"{seed} {name} {trial}"), f"trial-{trial}")
        except Exception:
            found = traceback.format_exc()
        progress.update()
        return found and f"trial {trial}, in {folder}: {found}"

    with ThreadPoolExecutor(jobs) as threads:
        return [found for found in threads.map(attempt, range(trials)) if found]


def read_page(page: Path) -> tuple[str, dict[str, tuple[int, int]]]:
    """The conditions, and (trials, lost) by fault; none of a page that does not exist."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    above, _, table = text.partition(HEAD)
    rows = [line.removeprefix("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    return above.strip().rpartition("\n")[2], {name: (int(trials), int(lost)) for name, trials, lost, _ in rows}


def write_page(page: Path, seed: int, counts: dict[str, tuple[int, int]]) -> None:
    """Write (trials, lost) of faults into the page, and leave its other rows. Raises ValueError if these are of other
    conditions."""
    measured_under, measured = read_page(page)
    if set(measured) & set(ROWS) - set(counts) and measured_under != conditions(seed):
        raise ValueError(
            f"{page} has rows of '{measured_under}', which cannot stand beside those of '{conditions(seed)}'; leave "
            "out --only, or name another page."
        )
    measured |= counts
    lines = [
        f"| {name} | {measured[name][0]} | {measured[name][1]} | {row.lost} |"
        for name, row in ROWS.items()
        if name in measured
    ]
    table = "\n".join(lines)
    page.write_text(f"{INTRODUCTION}\n{conditions(seed)}\n\n{HEAD}{table}\n", encoding="utf-8")
