"""Runs that are killed, ended by a signal, or meet a full disk, at a random moment."""

import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from hf_tfm.training.loop.directory_lock import LOCK_FILE
from hf_tfm.training.objectives import OBJECTIVES
from tests.training.tiny import SIZES

from .commands import Command, one_line, processor_seconds, write_data

# a moment that came after the end is no trial, and another one is drawn
DRAWS = 25
# the log of a run lies on the disk that is full; this is enough for its last line
SMALLEST_LIMIT = 8_000
# the base model has its own sizes
LORA = {"init_from": "base", "peft": "lora", **dict.fromkeys((*SIZES, "hidden_dropout"))}
STREAM = {"streaming": True, "validation_file": "causal-lm.jsonl", "test_file": "causal-lm.jsonl"}
# name -> options of the run
RUNS: dict[str, dict[str, Any]] = {
    **{task: {"task": task, "train_file": f"{task}.jsonl"} for task in OBJECTIVES},
    "average of the weights": {"ema_decay": 0.9},
    "packing": {"packing": "separate", "gradient_accumulation_steps": 2, "per_device_train_batch_size": 2},
    "streaming": STREAM,
    "LoRA": LORA,
    "two processes": {"per_device_train_batch_size": 2},
}


def prepare(name: str, folder: Path) -> Command:
    """A measured command of RUNS."""
    options = RUNS[name]
    write_data(folder, (options.get("task", "causal-lm"),))
    if name == "LoRA":
        Command(folder, {}).run("base")
    return Command(folder, options, processes=2 if name == "two processes" else 1).measure()


def reach_a_moment(command: Command, processes: list[Any], output: str, random: Random) -> bool:
    """Wait for a random moment of a run; False if the run ended before. Every second moment lies where a checkpoint is
    written; the others lie anywhere, in processor time, which does not depend on what else the machine does."""
    if random.random() < 0.5:
        folder = command.folder / output / f"checkpoint-{random.choice((2, 4, 6))}"
        is_reached, delay = folder.exists, random.uniform(0, command.save_seconds)
    else:
        seconds = random.uniform(0, command.processor_seconds)
        # the processor time is counted in hundredths
        is_reached, delay = lambda: processor_seconds(processes[0].pid) >= seconds, random.uniform(0, 0.01)
    return wait_until(is_reached, processes) and not time.sleep(delay) and processes[0].is_alive()


def wait_until(is_reached: Callable[[], bool], processes: list[Any]) -> bool:
    while not is_reached():
        if not processes[0].is_alive():
            return False
        time.sleep(0.002)
    return True


def kill(command: Command, random: Random, output: str) -> str | None:
    """Kill a run once or twice."""
    for draw in range(DRAWS):
        place, kills = f"{output}-{draw}", 0
        for _ in range(random.choice((1, 1, 2))):
            processes = command.start(place)
            kills += reach_a_moment(command, processes, place, random)
            end(processes, random)
        if kills:
            return command.go_on(place)
    raise RuntimeError(f"no moment of {DRAWS} came before the end of the run")


def end(processes: list[Any], random: Random) -> None:
    """Kill a process; then end the other as torchrun does: by SIGTERM, and after some time by SIGKILL."""
    first = random.choice(processes)
    first.kill()
    for process in processes:
        if process is not first:
            process.terminate()
            process.join(10)
            process.kill()
        process.join()


def end_by_signal(number: signal.Signals, command: Command, random: Random, output: str) -> str | None:
    """Send a signal to a run once it has locked its folder."""
    for draw in range(DRAWS):
        place = f"{output}-{draw}"
        processes = command.start(place)
        if wait_until((command.folder / place / LOCK_FILE).exists, processes) and reach_a_moment(
            command, processes, place, random
        ):
            os.kill(processes[0].pid, number)
            [done] = command.wait(place, processes)
            if done.code == 128 + number and "The same command" in done.stdout and "Traceback" not in done.stderr:
                return command.go_on(place)
            if not command.is_finished(place):
                return f"ended with {done.code}: {done.stdout[-500:]}{done.stderr[-2000:]}"
        processes[0].join()
    raise RuntimeError(f"no moment of {DRAWS} came before the end of the run")


def fill_the_disk(command: Command, random: Random, output: str) -> str | None:
    """From a random moment on, no file can become larger than a random size."""
    for draw in range(DRAWS):
        place = f"{output}-{draw}"
        processes = command.start(place)
        size = int(SMALLEST_LIMIT * (command.largest_file / SMALLEST_LIMIT) ** random.random())
        if reach_a_moment(command, processes, place, random):
            limit(processes[0].pid, size)
        [done] = command.wait(place, processes)
        if done.code == 0:
            continue
        if not one_line(done) or " is full (" not in done.stderr.splitlines()[-1]:
            return f"files of {size} bytes: ended with {done.code}: {done.stderr[-2000:]}"
        return command.go_on(place)
    raise RuntimeError(f"{DRAWS} runs ended before their disk was full")


def limit(pid: int, size: int) -> None:
    """Let no file of a running process become larger than `size` bytes, as on a full disk."""
    try:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    except ProcessLookupError:
        # it has just ended
        return
