"""train.py with FSDP2 or tensor parallelism in two processes trains as in one process, resumes in two processes and in
one, and saves one full checkpoint."""

import shutil
from functools import partial

import pytest
from transformers import AutoModelForCausalLM

from tests.parallel.test_two_process_training import (
    RUNS,
    assert_run_of_two_processes,
    assert_same_training,
    train_in_two_processes,
)
from tests.training.test_resume import kill_at
from tests.training.test_train import cli_arguments, train

pytestmark = pytest.mark.xdist_group("two_processes")

OPTIONS = RUNS["causal-lm"] | {"optimizer": "adamw", "label_smoothing_factor": 0.0, "vocab_size": 300}
IN_ONE_PROCESS = {"per_device_train_batch_size": 4}


def allow_tensor_parallelism_on_cpu(kill_step=None):
    """accelerate refuses tensor parallelism without GPUs, although nothing in it needs them."""
    from accelerate import ParallelismConfig

    ParallelismConfig._validate_accelerator = lambda self, accelerator: None
    if kill_step:
        kill_at(kill_step)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded")
    texts = [f"The {i}th line of a little text, which says {'no' * (i % 7)}thing." for i in range(120)]
    (folder / "own.txt").write_text("\n\n".join(texts))
    done = train(folder, *cli_arguments(**OPTIONS | IN_ONE_PROCESS | {"output_dir": "one"}))
    assert done.code == 0, done.stderr
    return folder


# under tensor parallelism both processes read the same rows
@pytest.mark.parametrize(("option", "rows"), [("fsdp_size", 2), ("tp_size", 4)])
def test_killed_sharded_training_resumes_in_two_processes_and_in_one(data, option, rows):
    options = cli_arguments(**OPTIONS | {"per_device_train_batch_size": rows, "output_dir": option, option: 2})
    killed = train_in_two_processes(data, *options, job=partial(allow_tensor_parallelism_on_cpu, 5))
    assert [done.code for done in killed] == [-9, -9], killed[0].stderr + killed[1].stderr
    alone = f"{option}-alone"
    shutil.copytree(data / option, data / alone)

    both = train_in_two_processes(data, *options, job=allow_tensor_parallelism_on_cpu)
    assert [done.code for done in both] == [0, 0], both[0].stderr + both[1].stderr
    assert f"Resuming from {option}/checkpoint-3\n" in both[0].stdout
    assert_run_of_two_processes(data / option)
    assert_same_training(data / "one", data / option)
    AutoModelForCausalLM.from_pretrained(data / option)

    # `one` trains the same rows in each step
    one = train(data, *cli_arguments(**OPTIONS | IN_ONE_PROCESS | {"output_dir": alone}))
    assert one.code == 0, one.stderr
    assert f"Resuming from {alone}/checkpoint-3\n" in one.stdout
    assert "Saved by 2 process(es), resumed in 1" in one.stdout
    assert_same_training(data / "one", data / alone)


def test_wrong_number_of_processes_is_refused(data):
    done = train(data, *cli_arguments(**OPTIONS | {"output_dir": "alone", "fsdp_size": 2}))
    assert done.code == 1
    assert "torchrun --nproc-per-node 2" in done.stderr
