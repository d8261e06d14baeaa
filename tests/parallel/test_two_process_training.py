"""train.py in two processes trains as in one process, and resumes bitwise after both were killed."""

import json
import os
import signal
import socket
import subprocess
import sys
from functools import cache, partial

import pytest
import torch
from safetensors.torch import load_file

from tests.training.killed_runs import COMMON, final_state, kill_at, signal_at
from tests.training.test_train import ROOT, cli_arguments, start, train, wait_for

pytestmark = pytest.mark.xdist_group("two_processes")

# number of processes -> batch size for the same rows in each step
BATCH_SIZES = {1: {"per_device_train_batch_size": 4}, 2: {"per_device_train_batch_size": 2}}
# no dropout: each process draws its own random numbers
SHARED = COMMON | {
    "hidden_dropout": 0.0, "train_file": "own.txt", "max_steps": 6, "use_cpu": True, "on_spike": "log",
}  # fmt: skip
RUNS = {
    "causal-lm": SHARED | {"gradient_accumulation_steps": 2, "optimizer": "muon", "label_smoothing_factor": 0.1},
    # without an accelerator there is nothing to say
    "masked-lm": SHARED | {"task": "masked-lm", "mask_unit": "whole_word", "use_cpu": torch.accelerator.is_available()},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    texts = [f"The {i}th line of a little text, which says {'no' * (i % 7)}thing." for i in range(120)]
    (folder / "own.txt").write_text("\n\n".join(texts))
    return folder


def start_two_processes(folder, *arguments, job=None, log=""):
    """train.py in two processes with the environment variables that torchrun sets, without its start-up time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        start(folder, *arguments, job=job, log=f"{log}{rank}", environment=shared | {"RANK": rank, "LOCAL_RANK": rank})
        for rank in ("0", "1")
    ]


def train_in_two_processes(folder, *arguments, job=None):
    processes = start_two_processes(folder, *arguments, job=job)
    return [wait_for(folder, process, log=str(rank)) for rank, process in enumerate(processes)]


def assert_run_of_two_processes(folder):
    """The run had two processes, and one of them wrote the card."""
    assert json.loads((folder / "run.json").read_text())["options"]["world_size"] == 2
    assert "2 processes" in (folder / "README.md").read_text()
    assert not (folder / "metrics").exists()


def assert_same_training(one, two):
    """Losses, weights and results of two folders are equal up to the order of summation."""
    losses, others = ([row for row in final_state(folder)[1] if row[1] == "loss"] for folder in (one, two))
    assert [row[0] for row in losses] == [row[0] for row in others] == [1, 2, 3, 4, 5, 6]
    assert [row[2] for row in others] == pytest.approx([row[2] for row in losses], abs=2e-5)
    weights = load_file(two / "model.safetensors")
    for name, weight in load_file(one / "model.safetensors").items():
        assert torch.allclose(weight, weights[name], atol=1e-4), (name, (weight - weights[name]).abs().max())
    results, other_results = (json.loads((folder / "all_results.json").read_text()) for folder in (one, two))
    # transformers' Seq2SeqTrainer would count the rows that fill up the last batches
    assert other_results["test_scored_tokens"] == results["test_scored_tokens"]
    for name in ("eval_nats_per_token", "test_nats_per_token", "eval_perplexity"):
        assert other_results[name] == pytest.approx(results[name], rel=1e-4), name
    # Trainer averages the means of batches, filled up or not
    assert other_results["test_loss"] == pytest.approx(results["test_loss"], rel=0.02)


@pytest.fixture(scope="module")
def run_in_one_process(data):
    """A function task -> folder of its run in one process. The run starts at the first call."""

    @cache
    def run(task):
        done = train(data, *cli_arguments(**RUNS[task] | BATCH_SIZES[1], output_dir=f"{task}-one"))
        assert done.code == 0, done.stderr
        return data / f"{task}-one"

    return run


@pytest.mark.parametrize("task", RUNS)
def test_training_in_two_processes_equals_training_in_one(data, run_in_one_process, task):
    both = train_in_two_processes(data, *cli_arguments(**RUNS[task] | BATCH_SIZES[2], output_dir=f"{task}-two"))
    assert [done.code for done in both] == [0, 0], both[0].stderr + both[1].stderr
    assert_run_of_two_processes(data / f"{task}-two")
    assert_same_training(run_in_one_process(task), data / f"{task}-two")
    assert "Written to" in both[0].stdout
    assert "Written to" not in both[1].stdout


def test_a_stream_in_two_processes_has_batches_of_different_lengths(data):
    """The main process concatenated the batches of both. The last row is shorter than the others."""
    texts = [f"The {i}th line of a little text, which says {'no' * (i % 7)}thing." for i in range(13)]
    (data / "stream.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    splits = dict.fromkeys(("train_file", "validation_file", "test_file"), "stream.jsonl")
    options = RUNS["masked-lm"] | splits | {"streaming": True}
    done = train(data, *cli_arguments(**options | BATCH_SIZES[1], output_dir="stream-one"))
    assert done.code == 0, done.stderr
    both = train_in_two_processes(data, *cli_arguments(**options | BATCH_SIZES[2], output_dir="stream-two"))
    assert [done.code for done in both] == [0, 0], both[0].stderr
    one, two = (final_state(data / folder)[1] for folder in ("stream-one", "stream-two"))
    losses, others = ([row[2] for row in rows if row[1] == "loss"] for rows in (one, two))
    # two processes fill the last step of an epoch, the fourth, with rows from its start
    assert others[:3] == pytest.approx(losses[:3], abs=2e-5)
    assert len(others) == len(losses) == 6


def launch(data, launcher, output):
    line = [sys.executable, "-m", *launcher, ROOT / "train.py"]
    line += cli_arguments(**RUNS["masked-lm"] | BATCH_SIZES[2], output_dir=output)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(line, cwd=data, env=environment, capture_output=True, text=True, check=False)


# `accelerate launch --cpu --num_processes 2`, and distributed_type MULTI_CPU in a file, start one process (accelerate
# 1.15); --multi_gpu starts two, which run on the CPU if there is no GPU.
LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
    "accelerate": ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"],
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_launchers_start_two_processes(data, run_in_one_process, launcher):
    done = launch(data, LAUNCHERS[launcher], launcher)
    assert done.returncode == 0, done.stderr
    assert_run_of_two_processes(data / launcher)
    assert_same_training(run_in_one_process("masked-lm"), data / launcher)


def test_two_killed_processes_resume_bitwise(data):
    options = {"hidden_dropout": 0.1, "packing": "separate", "ema_decay": 0.9, "max_steps": 10}
    command = cli_arguments(**RUNS["causal-lm"] | BATCH_SIZES[2] | options)
    uninterrupted = train_in_two_processes(data, *command, "--output_dir", "uninterrupted")
    assert [done.code for done in uninterrupted] == [0, 0], uninterrupted[0].stderr
    killed = train_in_two_processes(data, *command, "--output_dir", "out", job=partial(kill_at, 8))
    assert [done.code for done in killed] == [-9, -9], killed[0].stderr
    resumed = train_in_two_processes(data, *command, "--output_dir", "out")
    assert [done.code for done in resumed] == [0, 0], resumed[0].stderr
    assert all("Resuming from out/checkpoint-6\n" in done.stdout for done in resumed)
    assert_run_of_two_processes(data / "out")
    assert final_state(data / "out") == final_state(data / "uninterrupted")


def test_a_signal_to_one_process_stops_both_after_the_same_step(data):
    """They would wait for each other."""
    command = cli_arguments(**RUNS["masked-lm"] | BATCH_SIZES[2], output_dir="ended")
    ended = train_in_two_processes(data, *command, job=partial(signal_at, 5, signal.SIGTERM))
    assert [done.code for done in ended] == [128 + signal.SIGTERM] * 2, ended[0].stderr
    assert "The same command resumes from ended/checkpoint-5\n" in ended[0].stdout
    assert {path.name for path in (data / "ended/checkpoint-5").glob("rng_state*")} == {
        "rng_state_0.pth", "rng_state_1.pth",
    }  # fmt: skip
    assert not (data / "ended/_lock").exists()


def test_a_run_resumes_in_another_number_of_processes_with_the_same_rows_in_a_step(data, run_in_one_process):
    """As after the loss of one of two GPUs, and back."""
    command = cli_arguments(**RUNS["masked-lm"] | BATCH_SIZES[2], output_dir="counted")
    killed = train_in_two_processes(data, *command, job=partial(kill_at, 4))
    assert [done.code for done in killed] == [-9, -9], killed[0].stderr
    refused = train(data, *command)
    assert refused.code == 1
    assert "its steps read 4 rows, and those of this command 2" in refused.stderr
    assert "add --per_device_train_batch_size 2 --gradient_accumulation_steps 2" in refused.stderr
    command += ["--save_steps", "1"]
    one = train(data, *command, "--gradient_accumulation_steps", "2", job=partial(kill_at, 5))
    assert one.code == -9, one.stderr
    assert "Resuming from counted/checkpoint-3\n" in one.stdout
    both = train_in_two_processes(data, *command)
    assert [done.code for done in both] == [0, 0], both[0].stderr
    assert "Resuming from counted/checkpoint-4\n" in both[0].stdout
    assert_run_of_two_processes(data / "counted")
    assert_same_training(run_in_one_process("masked-lm"), data / "counted")
