"""One run of a comparison, in a process of its own: train.py, then the probes. Where a run has several processes,
torchrun starts them, and this one waits for them."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TextIO

import torch

from hf_tfm.errors import one_line_errors
from hf_tfm.training.cli.parser import option_value
from hf_tfm.training.loop.directory_lock import DirectoryLock
from hf_tfm.training.loop.output_dir import read_run_file

__all__ = ["ALONE", "GPUS", "gpu_groups", "run_train"]

LOCK_SECONDS = 60
GPUS = "CUDA_VISIBLE_DEVICES"
# options with which a process by itself reads the arguments of a run of several
ALONE = ("--fsdp_size", "1", "--tp_size", "1")


def gpu_groups(size: int) -> list[str]:
    """The GPUs that this process sees, in groups of `size`, as values of CUDA_VISIBLE_DEVICES; empty where there is
    none. Raises ValueError if there are some, but fewer."""
    count = torch.cuda.device_count()
    if 0 < count < size:
        raise ValueError(f"--processes {size} needs as many GPUs, and {count} can be seen here; lower it.")
    named = os.environ.get(GPUS)
    names = named.split(",")[:count] if named else [str(number) for number in range(count)]
    return [",".join(names[first : first + size]) for first in range(0, count - size + 1, size)]


def run_train(arguments: list[str], log: str, threads: int, processes: int, probes: list[str]) -> None:
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
        if processes > 1:
            if not is_finished(arguments):
                train_in_processes(arguments, threads, processes, file)
            arguments = [*arguments, *ALONE]
        train_and_probe(arguments, probes)


def train_in_processes(arguments: list[str], threads: int, processes: int, log: TextIO) -> None:
    """train.py in several processes on this machine. SIGTERM reaches them, and they save a checkpoint."""
    launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, "-m", *launcher, "-m", "hf_tfm.training", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    signal.signal(signal.SIGTERM, lambda number, frame: process.terminate())
    if process.wait():
        sys.exit(process.returncode)


def is_finished(arguments: list[str]) -> bool:
    """A run may have been finished before its process was killed."""
    written = read_run_file(Path(str(option_value("output_dir", arguments))))
    return bool(written and written["finished"])


def train_and_probe(arguments: list[str], probes: list[str]) -> None:
    """What is left of both."""
    from hf_tfm.training.cli.parser import parse_arguments
    from hf_tfm.training.training_run import run_training

    from .probes.results import measure_probes

    try:
        with one_line_errors("train.py", extra="train", debug=False):
            run_args = parse_arguments(arguments)
            data = None if is_finished(arguments) else run_training(run_args).data
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
