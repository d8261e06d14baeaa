"""Starts the runs of a comparison, side by side, each in a process of its own, and waits for them.

The processes are forked from one that has imported everything, which saves the seconds of the imports in every run."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from hf_tfm.errors import one_line_errors
from hf_tfm.training.cli.parser import option_value
from hf_tfm.training.loop.directory_lock import DirectoryLock

from .plan import Plan
from .preparation import train_arguments
from .runs import Outcome, Run, expected_runs, needed_runs, probes_of, read_outcome, run_arguments

__all__ = ["Workers"]

LOGS_FOLDER = "logs"
LOCK_SECONDS = 60
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
    """Runs what a plan needs, `jobs` at a time with `threads` each. `shared`: arguments of train.py for all arms."""

    def __init__(self, plan: Plan, shared: list[str], folder: Path, jobs: int, threads: int) -> None:
        self.plan, self.shared, self.folder, self.jobs, self.threads = plan, shared, folder, jobs, threads
        self.arms = {planned.arm.name: planned for planned in plan.arms}
        self.running: dict[Any, Run] = {}

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
            own = self.arguments(run), str(self.log(run)), self.threads, probes_of(self.plan, run)
            process = CONTEXT.Process(target=run_train, args=own)
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
        message = lines[-1] if lines else "It printed nothing."
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


def run_train(arguments: list[str], log: str, threads: int, probes: list[str]) -> None:
    """In a new process: train.py with these arguments, then the probes, and their output in a file."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    # data loaders of the run are forked, as on the command line
    multiprocessing.set_start_method("fork", force=True)
    sys.argv = ["train.py", *arguments]
    wait_for_lock(Path(str(option_value("output_dir", arguments))))
    with (
        open(log, "w", buffering=1, encoding="utf-8") as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        train_and_probe(arguments, probes)


def train_and_probe(arguments: list[str], probes: list[str]) -> None:
    """What is left of both: a run may have been finished before its process was killed."""
    from hf_tfm.training.cli.parser import parse_arguments
    from hf_tfm.training.loop.output_dir import read_run_file
    from hf_tfm.training.training_run import run_training

    from .probes.results import measure_probes

    try:
        with one_line_errors("train.py", extra="train", debug=False):
            run_args = parse_arguments(arguments)
            written = read_run_file(Path(str(run_args.training.output_dir)))
            is_finished = bool(written and written["finished"])
            data = None if is_finished else run_training(run_args).data
            measure_probes(run_args, probes, data)
    except Exception:
        # into the file: multiprocessing prints it on the terminal
        traceback.print_exc()
        sys.exit(1)


def wait_for_lock(folder: Path) -> None:
    """Wait while the run of a command that was killed saves its checkpoint there."""
    for _ in range(LOCK_SECONDS if folder.exists() else 0):
        with contextlib.suppress(BlockingIOError):
            lock = DirectoryLock(folder)
            lock.acquire()
            lock.release()
            return
        time.sleep(1)


def end_with_parent() -> None:
    """Ends this run, which saves a checkpoint, when the command that started it is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
