"""What a run of a comparison has: GPUs of its own, or several processes."""

import json

import pytest
import torch

from hf_tfm.comparison import run_process, workers
from hf_tfm.comparison.compare_command import main
from hf_tfm.comparison.run_process import gpu_groups, run_train
from hf_tfm.comparison.workers import CONTEXT, Workers

RUN = (
    "--hidden_size 16 --num_hidden_layers 1 --num_attention_heads 2 --vocab_size 300 --block_size 16 --max_steps 2 "
    "--train_file own.txt --optimizer adamw --no_report --disable_tqdm True --output_dir run"
).split()


def see_gpus(monkeypatch, count, visible):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)


@pytest.mark.parametrize(
    ("count", "visible", "size", "groups"),
    [
        (0, None, 1, []),
        (0, None, 2, []),
        (3, None, 1, ["0", "1", "2"]),
        (5, None, 2, ["0,1", "2,3"]),
        (2, "4,6", 1, ["4", "6"]),
    ],
)
def test_gpus_are_grouped_as_they_are_visible(monkeypatch, count, visible, size, groups):
    see_gpus(monkeypatch, count, visible)
    assert gpu_groups(size) == groups


def test_a_run_of_more_processes_than_gpus_is_refused(monkeypatch):
    see_gpus(monkeypatch, 2, None)
    with pytest.raises(ValueError, match="--processes 4 needs as many GPUs, and 2 can be seen here"):
        gpu_groups(4)


def test_runs_side_by_side_have_gpus_of_their_own(monkeypatch):
    """And one that starts later has those of one that has ended."""
    started = []

    class Process:
        def __init__(self, target, args):
            pass

        def start(self):
            started.append(run_process.os.environ["CUDA_VISIBLE_DEVICES"])

    see_gpus(monkeypatch, 2, "0")
    monkeypatch.setattr(workers, "CONTEXT", type("Context", (), {"Process": Process}))
    monkeypatch.setattr(workers, "needed_runs", lambda plan, outcomes: ["a", "b", "c"])
    monkeypatch.setattr(workers, "probes_of", lambda plan, run: [])
    monkeypatch.setattr(Workers, "arguments", lambda self, run: [])
    monkeypatch.setattr(Workers, "log", lambda self, run: run)
    plan = type("Plan", (), {"arms": [], "request": {"processes": 1}})
    found = Workers(plan, [], None, 2, 1, ["4", "6"])
    found.start_waiting({})
    assert started == ["4", "6"]
    found.running.pop(next(iter(found.running)))
    found.start_waiting({"a": None})
    assert started == ["4", "6", "4"]


@pytest.mark.xdist_group("two_processes")
def test_a_run_of_two_processes_trains_in_both_and_reads_its_arguments_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.txt").write_text("\n\n".join(f"The {i}th line of a little text." for i in range(120)))
    process = CONTEXT.Process(target=run_train, args=([*RUN, "--fsdp_size", "2"], "log.txt", 1, 2, []))
    process.start()
    process.join()
    assert process.exitcode == 0, (tmp_path / "log.txt").read_text()
    run = json.loads((tmp_path / "run/run.json").read_text())
    assert run["finished"]
    assert run["options"]["world_size"] == 2


def test_seconds_are_not_compared_in_several_processes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="--budget in seconds needs steps that are measured in one process"):
        main(["--vary", "qk_norm=none,head", "--budget", "5s", "--processes", "2"])
