"""Starts the runs of a comparison, side by side, each in a process of its own, and waits for them.

The processes are forked from one that has imported everything, which saves the seconds of the imports in every run."""

import multiprocessing
import multiprocessing.connection
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from .plan import Plan
from .preparation import train_arguments
from .run_process import GPUS, run_train
from .runs import Outcome, Run, expected_runs, needed_runs, probes_of, read_outcome, run_arguments

__all__ = ["Workers"]

LOGS_FOLDER = "logs"
# Evaluations and losses for the curves, and no card, page or samples, which nobody looks at in so many runs, unless the
# command gives them.
SHARED_DEFAULTS = {"eval_steps": "0.1", "logging_steps": "0.05", "report": "False"}
# A process that has looked for a GPU cannot be forked.
CONTEXT: Any = multiprocessing.get_context("spawn" if torch.cuda.is_available() else "forkserver")
PRELOADED = [
    "hf_tfm.training.report.run_report", "matplotlib.pyplot", "torch._dynamo", "hf_tfm.comparison.workers",
    "hf_tfm.comparison.probes.results",
]  # fmt: skip


class Workers:
    """Runs what a plan needs, `jobs` at a time with `threads` each. `shared`: arguments of train.py for all arms;
    `gpus`: groups of GPUs, of which each run has one for itself while there are enough."""

    def __init__(
        self, plan: Plan, shared: list[str], folder: Path, jobs: int, threads: int, gpus: Sequence[str] = ()
    ) -> None:
        self.plan, self.shared, self.folder, self.jobs, self.threads = plan, shared, folder, jobs, threads
        self.arms = {planned.arm.name: planned for planned in plan.arms}
        self.gpus = gpus
        self.running: dict[Any, Run] = {}
        self.gpus_of: dict[Any, str] = {}

    def run_all(self, outcomes: dict[Run, Outcome]) -> None:
        """Add the outcomes of all runs that have none. A run that fails is an outcome too; the same command tries it
        again. Ctrl-C ends the runs, which save a checkpoint."""
        if CONTEXT.get_start_method() == "forkserver":
            CONTEXT.set_forkserver_preload(PRELOADED)
        (self.folder / LOGS_FOLDER).mkdir(parents=True, exist_ok=True)
        total = expected_runs(self.plan, outcomes)
        try:
            with tqdm(total=total, initial=len(outcomes), unit="run", desc="Runs") as bar:
                while self.start_waiting(outcomes):
                    bar.set_postfix_str(", ".join(sorted(run.name for run in self.running.values())))
                    for run, outcome in self.ended():
                        outcomes[run] = outcome
                        if outcome.state != "finished":
                            tqdm.write(f"{run.name} {outcome.state}. {outcome.message}")
                        bar.total = expected_runs(self.plan, outcomes)
                        bar.update()
        finally:
            for process in self.running:
                process.terminate()
            for process in self.running:
                process.join()

    def start_waiting(self, outcomes: dict[Run, Outcome]) -> bool:
        """Start runs while there is room; returns whether any runs."""
        known = {*outcomes, *self.running.values()}
        waiting = [run for run in needed_runs(self.plan, outcomes) if run not in known]
        for run in waiting[: self.jobs - len(self.running)]:
            own = self.arguments(run), str(self.log(run)), self.threads, self.plan.request["processes"]
            process = CONTEXT.Process(target=run_train, args=(*own, probes_of(self.plan, run)))
            if self.gpus:
                used = [self.gpus_of[other] for other in self.running]
                # a process that is spawned inherits the environment
                os.environ[GPUS] = self.gpus_of[process] = min(self.gpus, key=used.count)
            process.start()
            self.running[process] = run
        return bool(self.running)

    def ended(self) -> list[tuple[Run, Outcome]]:
        """Wait until a run ends; those that have, with what they came to."""
        multiprocessing.connection.wait([process.sentinel for process in self.running])
        ended = [process for process in self.running if not process.is_alive()]
        return [(run, self.outcome(run, process.exitcode)) for process in ended for run in [self.running.pop(process)]]

    def outcome(self, run: Run, code: int | None) -> Outcome:
        found = read_outcome(self.plan, self.arms[run.arm], run, self.folder)
        if found is not None:
            return found
        lines = self.log(run).read_text(encoding="utf-8").strip().splitlines() if self.log(run).exists() else []
        # torchrun prints what it makes of an error after it
        errors = [line for line in lines if line.startswith("train.py: error: ")] or lines
        message = errors[-1] if errors else "It printed nothing."
        return Outcome("failed", message=f"{message} (exit code {code}; {LOGS_FOLDER}/{self.log(run).name})")

    def arguments(self, run: Run) -> list[str]:
        """The arguments of train.py."""
        planned = self.arms[run.arm]
        names = (argument.partition("=")[0].lstrip("-").replace("-", "_") for argument in self.shared)
        given = {name.removeprefix("no_") for name in names}
        missing = {name: value for name, value in SHARED_DEFAULTS.items() if name not in given}
        defaults = [item for name, value in missing.items() for item in (f"--{name}", value)]
        own = run_arguments(self.plan, planned, run, run.path(self.folder))
        return [*defaults, *train_arguments(self.shared, planned.arm), "--disable_tqdm", "True", *own]

    def log(self, run: Run) -> Path:
        """What a run prints. It is not in the folder of the run, which belongs to train.py."""
        return self.folder / LOGS_FOLDER / f"{run.name.replace('/', '_')}.txt"
