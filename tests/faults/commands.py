"""Commands of train.py, each in processes of its own, and what they give when nothing breaks them."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from tests.parallel.test_two_process_training import start_two_processes
from tests.training.killed_runs import final_state
from tests.training.test_train import CompletedRun, cli_arguments, start, wait_for
from tests.training.tiny import ROWS, SIZES

OPTIONS = SIZES | {
    "hidden_dropout": 0.1, "vocab_size": 300, "block_size": 16, "max_steps": 6, "save_steps": 2, "eval_steps": 3,
    "logging_steps": 1, "warmup_steps": 1, "disable_tqdm": True, "save_total_limit": 2, "max_eval_samples": 8,
    "per_device_train_batch_size": 4, "train_file": "causal-lm.jsonl", "use_cpu": True,
}  # fmt: skip
FILES = ("README.md", "all_results.json", "tokenizer.json", "training.png")


@dataclass
class Command:
    """A command of train.py that is run in `folder` with OPTIONS and `options`; None leaves one out. `measure` sets
    the other fields: what the whole run gives, its processor time, the seconds for which it writes a checkpoint, and
    the bytes of its largest file."""

    folder: Path
    options: dict[str, Any]
    processes: int = 1
    result: Any = None
    processor_seconds: float = 0.0
    save_seconds: float = 0.0
    largest_file: int = 0

    def start(self, output: str, job: Callable[[], Any] | None = None) -> list[Any]:
        """Start the processes of the command, which write into `output`; `job` is called in each of them first."""
        options = {name: value for name, value in (OPTIONS | self.options).items() if value is not None}
        arguments = cli_arguments(**options, output_dir=output)
        job = partial(begin, self.folder / f"{output}-cache", job)
        if self.processes == 1:
            return [start(self.folder, *arguments, job=job, log=f"-{output}-0")]
        return start_two_processes(self.folder, *arguments, job=job, log=f"-{output}-")

    def wait(self, output: str, processes: list[Any]) -> list[CompletedRun]:
        return [wait_for(self.folder, process, log=f"-{output}-{rank}") for rank, process in enumerate(processes)]

    def run(self, output: str, job: Callable[[], Any] | None = None) -> CompletedRun:
        """The first process that failed, or the first one."""
        done = self.wait(output, self.start(output, job))
        return next((run for run in done if run.code), done[0])

    def measure(self) -> "Command":
        """Run the command when nothing breaks it. Raises RuntimeError if it fails."""
        processes = self.start("whole")
        while any(process.is_alive() for process in processes):
            self.processor_seconds = max(self.processor_seconds, processor_seconds(processes[0].pid))
            time.sleep(0.005)
        for done in self.wait("whole", processes):
            if done.code:
                raise RuntimeError(f"{self.options} ends with {done.code}:\n{done.stderr}")
        self.result = final_state(self.folder / "whole")
        times = [path.stat().st_mtime for path in (self.folder / "whole/checkpoint-6").iterdir()]
        self.save_seconds = max(times) - min(times)
        self.largest_file = max(path.stat().st_size for path in (self.folder / "whole").rglob("*") if path.is_file())
        return self

    def is_finished(self, output: str) -> bool:
        """Whether the run wrote that nothing remains to be done."""
        path = self.folder / output / "run.json"
        return path.exists() and json.loads(path.read_text())["finished"]

    def go_on(self, output: str) -> str | None:
        """Run the command once more, to its end. What was lost, in words; None if it is as if nothing had happened."""
        done = self.run(output)
        if done.code and not self.is_finished(output):
            return f"the same command ends with {done.code}: {done.stderr[-2000:]}"
        return self.difference(output)

    def difference(self, output: str) -> str | None:
        """How a finished run differs from the whole one; None if it does not. Equal ones are deleted."""
        missing = [name for name in FILES if not (self.folder / output / name).exists()]
        if missing:
            return f"a finished run without {', '.join(missing)}"
        weights, losses = final_state(self.folder / output)
        if weights != self.result[0]:
            return "other weights"
        if losses != self.result[1]:
            return f"other losses: {losses} instead of {self.result[1]}"
        shutil.rmtree(self.folder / output)
        return None


def begin(cache: Path, job: Callable[[], Any] | None) -> None:
    """The first thing that a process does: use a data cache that no other trial has filled."""
    import datasets

    datasets.config.HF_DATASETS_CACHE = cache
    if job:
        job()


def processor_seconds(pid: int) -> float:
    """Processor time that a process has used; 0 if it has ended."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return times.user + times.system


def write_data(folder: Path, tasks: tuple[str, ...] = ("causal-lm",)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        rows = (json.dumps(ROWS[task](number)) + "\n" for number in range(40))
        (folder / f"{task}.jsonl").write_text("".join(rows))


def one_line(done: CompletedRun) -> bool:
    """Whether a run was refused in one sentence."""
    return done.code in (1, 2) and "Traceback" not in done.stderr and ": error: " in done.stderr.splitlines()[-1]
