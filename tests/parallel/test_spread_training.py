"""train.py with weights spread over two processes learns what one process learns, and leaves one whole checkpoint."""

import pytest
from transformers import AutoModelForCausalLM

from tests.parallel.test_train_in_two import RUNS, assert_same_learning, assert_two, train_in_two
from tests.training.test_train import cli_arguments, train

pytestmark = pytest.mark.xdist_group("two_processes")

OPTIONS = RUNS["causal-lm"] | {
    "optimizer": "adamw", "save_only_model": True, "label_smoothing_factor": 0.0, "vocab_size": 300,
}  # fmt: skip


def on_processors():
    """accelerate asks for GPUs under tensor parallelism; nothing in it needs them."""
    from accelerate import ParallelismConfig

    ParallelismConfig._validate_accelerator = lambda self, accelerator: None


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spread")
    texts = [f"The {i}th line of a little text, which says {'no' * (i % 7)}thing." for i in range(120)]
    (folder / "own.txt").write_text("\n\n".join(texts))
    done = train(folder, *cli_arguments(**OPTIONS | {"per_device_train_batch_size": 4, "output_dir": "one"}))
    assert done.code == 0, done.stderr
    return folder


# under tensor parallelism both processes read the same rows
@pytest.mark.parametrize(("way", "rows", "job"), [("fsdp_size", 2, None), ("tp_size", 4, on_processors)])
def test_spread_weights_learn_what_whole_ones_learn(data, way, rows, job):
    options = OPTIONS | {"per_device_train_batch_size": rows, "output_dir": way, way: 2}
    both = train_in_two(data, *cli_arguments(**options), job=job)
    assert [done.code for done in both] == [0, 0], both[0].stderr + both[1].stderr
    assert_two(data / way)
    assert_same_learning(data / "one", data / way)
    AutoModelForCausalLM.from_pretrained(data / way)


def test_wrong_number_of_processes_is_refused(data):
    done = train(data, *cli_arguments(**OPTIONS | {"output_dir": "alone", "fsdp_size": 2}))
    assert done.code == 2
    assert "torchrun --nproc-per-node 2" in done.stderr
