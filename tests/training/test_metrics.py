"""Bits per byte and perplexity equal a computation by hand."""

import math

import pytest
import torch

from hf_tfm.training.metrics import Perplexity, sum_next_token_losses


def test_sums_equal_a_loop_over_tokens():
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 5, 7), torch.randint(0, 7, (3, 5))
    labels[0, 2] = labels[2, 3:] = -100
    expected = []
    for row, targets in zip(logits.log_softmax(-1), labels, strict=True):
        scored = [t for t in range(1, 5) if targets[t] != -100]
        expected.append([-sum(row[t - 1, targets[t]].item() for t in scored), len(scored)])
    torch.testing.assert_close(sum_next_token_losses((logits,), labels), torch.tensor(expected))


def test_results_equal_a_hand_computation(tmp_path):
    # two rows, 6 tokens of 12 nats together, for a text of 10 bytes
    results = Perplexity(tmp_path).compute(losses=[4.0, 8.0], tokens=[2, 4], source_bytes=10)
    assert results["nats_per_token"] == pytest.approx(2.0)
    assert results["perplexity"] == pytest.approx(math.exp(2))
    assert results["bits_per_byte"] == pytest.approx(12 / math.log(2) / 10)
    assert results["scored_tokens"] == 6


def test_rows_of_unequal_length_are_not_averaged_by_row(tmp_path):
    results = Perplexity(tmp_path).compute(losses=[1.0, 90.0], tokens=[1, 9], source_bytes=1)
    assert results["nats_per_token"] == pytest.approx(9.1)


def test_metric_writes_nowhere_but_in_its_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/nonexistent")
    Perplexity(tmp_path / "scratch").compute(losses=[1.0], tokens=[1], source_bytes=1)
    assert [path.name for path in tmp_path.iterdir()] == ["scratch"]
