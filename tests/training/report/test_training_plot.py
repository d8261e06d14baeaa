"""The plot of a run shows the values of the log, and throughput without evaluations."""

import math

import pytest

from hf_tfm.training.report.training_plot import add_throughput, nats_per_token, plot_training, values_by_step

HISTORY = [
    {"step": 1, "loss": 5.0, "learning_rate": 0.1, "grad_norm": 2.0},
    {"step": 1, "train_runtime": 1.0, "train_tokens_per_second": 1, "num_input_tokens_seen": 100},
    {"step": 2, "loss": 4.0, "learning_rate": 0.2, "grad_norm": 1.0},
    {"step": 2, "eval_loss": 4.5},
    {"step": 2, "train_runtime": 3.0, "train_tokens_per_second": 1, "num_input_tokens_seen": 500},
]


def test_values_come_from_the_entries_that_have_the_key():
    assert values_by_step(HISTORY, "loss") == ([1, 2], [5.0, 4.0])
    assert values_by_step(HISTORY, "eval_loss") == ([2], [4.5])
    assert values_by_step(HISTORY, "nothing") == ([], [])


def test_throughput_is_tokens_per_second_between_two_entries():
    assert values_by_step(add_throughput(HISTORY), "tokens_per_second") == ([2], [200.0])


def test_bits_per_byte_are_converted_to_nats_per_token():
    assert nats_per_token(1.0, 4.0) == pytest.approx(4 * math.log(2))


@pytest.mark.parametrize("history", [HISTORY, HISTORY[:1], []])
def test_every_history_can_be_plotted(history, tmp_path):
    plot_training(history, tmp_path / "training.png", "title", {"xz, 1.70 bits per byte": 4.2})
    assert (tmp_path / "training.png").read_bytes().startswith(b"\x89PNG")
