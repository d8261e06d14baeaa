"""train.py with FSDP2 or tensor parallelism in two processes trains as in one process and saves one full checkpoint."""

import pytest
from transformers import AutoModelForCausalLM

from tests.parallel.test_two_process_training import (
    RUNS,
    assert_run_of_two_processes,
    assert_same_training,
    train_in_two_processes,
)
from tests.training.test_train import cli_arguments, train

pytestmark = pytest.mark.xdist_group("two_processes")

OPTIONS = RUNS["causal-lm"] | {
    "optimizer": "adamw", "save_only_model": True, "label_smoothing_factor": 0.0, "vocab_size": 300,
}  # fmt: skip


def allow_tensor_parallelism_on_cpu():
    """accelerate refuses tensor parallelism without GPUs, although nothing in it needs them."""
    from accelerate import ParallelismConfig

    ParallelismConfig._validate_accelerator = lambda self, accelerator: None


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded")
    texts = [f"The {i}th line of a little text, which says {'no' * (i % 7)}thing." for i in range(120)]
    (folder / "own.txt").write_text("\n\n".join(texts))
    done = train(folder, *cli_arguments(**OPTIONS | {"per_device_train_batch_size": 4, "output_dir": "one"}))
    assert done.code == 0, done.stderr
    return folder


# under tensor parallelism both processes read the same rows
@pytest.mark.parametrize(
    ("option", "rows", "job"), [("fsdp_size", 2, None), ("tp_size", 4, allow_tensor_parallelism_on_cpu)]
)
def test_sharded_training_equals_training_in_one_process(data, option, rows, job):
    options = OPTIONS | {"per_device_train_batch_size": rows, "output_dir": option, option: 2}
    both = train_in_two_processes(data, *cli_arguments(**options), job=job)
    assert [done.code for done in both] == [0, 0], both[0].stderr + both[1].stderr
    assert_run_of_two_processes(data / option)
    assert_same_training(data / "one", data / option)
    AutoModelForCausalLM.from_pretrained(data / option)


def test_wrong_number_of_processes_is_refused(data):
    done = train(data, *cli_arguments(**OPTIONS | {"output_dir": "alone", "fsdp_size": 2}))
    assert done.code == 1
    assert "torchrun --nproc-per-node 2" in done.stderr
