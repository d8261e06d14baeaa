"""Label smoothing is torch's own, shifted as the model shifts, and sums over micro-batches to the large batch."""

import pytest
import torch
from torch.nn import functional as F

from hf_tfm.training.loop.label_smoothing import LABEL_POSITIONS, label_position, smoothing_loss
from hf_tfm.training.objectives import OBJECTIVES
from tests.training.tiny import make_tiny

SHARE = 0.1
NUMBERS = [{"text": "a", "label": 0.5}, {"text": "b", "label": 1.5}]
SEVERAL = [{"text": "a", "label": ["x"]}, {"text": "b", "label": ["x", "y"]}]


@pytest.fixture
def scores():
    torch.manual_seed(0)
    logits, labels = torch.randn(4, 6, 5), torch.randint(0, 5, (4, 6))
    labels[0, 3:] = labels[2, :2] = -100
    return logits, labels


def cross_entropy(logits, labels, **options):
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=-100, **options)


@pytest.mark.parametrize("kind", ["same", "next"])
def test_loss_and_addition_are_torchs_smoothed_loss(scores, kind):
    logits, labels = scores
    read, asked = (logits[:, :-1], labels[:, 1:]) if kind == "next" else (logits, labels)
    expected = cross_entropy(read, asked, label_smoothing=SHARE)
    torch.testing.assert_close(cross_entropy(read, asked) + smoothing_loss(logits, labels, SHARE, kind), expected)


def test_labels_of_whole_rows_are_smoothed_too():
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    expected = F.cross_entropy(logits, labels, label_smoothing=SHARE)
    torch.testing.assert_close(
        F.cross_entropy(logits, labels) + smoothing_loss(logits, labels, SHARE, "same"), expected
    )


@pytest.mark.parametrize("kind", ["same", "next"])
def test_micro_batches_sum_to_the_large_batch(scores, kind):
    logits, labels = scores
    items = int((labels[:, 1:] if kind == "next" else labels).ne(-100).sum())
    parts = [smoothing_loss(logits[rows], labels[rows], SHARE, kind, items) for rows in ([0], [1, 2, 3])]
    torch.testing.assert_close(sum(parts), smoothing_loss(logits, labels, SHARE, kind))
    counted = torch.tensor(items)
    torch.testing.assert_close(
        smoothing_loss(logits, labels, SHARE, kind, counted), smoothing_loss(logits, labels, SHARE, kind, items)
    )


def test_a_batch_without_labels_adds_nothing(scores):
    logits, labels = scores
    assert smoothing_loss(logits, torch.full_like(labels, -100), SHARE, "same") == 0


@pytest.mark.parametrize("task", LABEL_POSITIONS)
def test_kinds_are_those_of_the_models(task):
    """The model's own loss with the addition is the smoothed loss of its logits, shifted or not."""
    tiny = make_tiny(task)
    model = tiny.model()
    batch = tiny.batch(model)
    outputs = model(**batch)
    kind = label_position(tiny.objective)
    logits, labels = outputs.logits, batch["labels"]
    added = smoothing_loss(logits, labels, SHARE, kind)
    read, asked = (logits[:, :-1], labels[:, 1:]) if kind == "next" else (logits, labels)
    expected = F.cross_entropy(
        read.reshape(-1, read.shape[-1]), asked.reshape(-1), ignore_index=-100, label_smoothing=SHARE
    )
    torch.testing.assert_close(outputs.loss + added, expected)


def test_tasks_without_one_class_of_several_are_refused():
    for tiny in (
        make_tiny("question-answering"),
        make_tiny("sequence-classification", NUMBERS),
        make_tiny("sequence-classification", SEVERAL),
    ):
        with pytest.raises(ValueError, match="--label_smoothing_factor"):
            label_position(tiny.objective)
    assert set(LABEL_POSITIONS) == set(OBJECTIVES) - {"question-answering"}
