"""Label smoothing equals that of torch, shifts labels as the model does, and is exact under gradient accumulation."""

import pytest
import torch
from torch.nn import functional as F

from hf_tfm.training.loop.label_smoothing import check_label_smoothing, smoothing_loss
from hf_tfm.training.objectives import OBJECTIVES
from tests.training.tiny import make_tiny

EPSILON = 0.1
NUMBERS = [{"text": "a", "label": 0.5}, {"text": "b", "label": 1.5}]
SEVERAL = [{"text": "a", "label": ["x"]}, {"text": "b", "label": ["x", "y"]}]


@pytest.fixture
def logits_and_labels():
    torch.manual_seed(0)
    logits, labels = torch.randn(4, 6, 5), torch.randint(0, 5, (4, 6))
    labels[0, 3:] = labels[2, :2] = -100
    return logits, labels


def cross_entropy(logits, labels, **options):
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=-100, **options)


@pytest.mark.parametrize("shift_labels", [False, True])
def test_cross_entropy_and_smoothing_term_are_torchs_smoothed_loss(logits_and_labels, shift_labels):
    logits, labels = logits_and_labels
    predicting, targets = (logits[:, :-1], labels[:, 1:]) if shift_labels else (logits, labels)
    expected = cross_entropy(predicting, targets, label_smoothing=EPSILON)
    torch.testing.assert_close(
        cross_entropy(predicting, targets) + smoothing_loss(logits, labels, EPSILON, shift_labels), expected
    )


def test_one_label_for_each_row_is_smoothed():
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    expected = F.cross_entropy(logits, labels, label_smoothing=EPSILON)
    torch.testing.assert_close(
        F.cross_entropy(logits, labels) + smoothing_loss(logits, labels, EPSILON, False), expected
    )


@pytest.mark.parametrize("shift_labels", [False, True])
def test_micro_batches_sum_to_the_whole_batch(logits_and_labels, shift_labels):
    logits, labels = logits_and_labels
    items = int((labels[:, 1:] if shift_labels else labels).ne(-100).sum())
    terms = [smoothing_loss(logits[rows], labels[rows], EPSILON, shift_labels, items) for rows in ([0], [1, 2, 3])]
    torch.testing.assert_close(sum(terms), smoothing_loss(logits, labels, EPSILON, shift_labels))
    counted = torch.tensor(items)
    torch.testing.assert_close(
        smoothing_loss(logits, labels, EPSILON, shift_labels, counted),
        smoothing_loss(logits, labels, EPSILON, shift_labels, items),
    )


def test_a_batch_without_labels_adds_zero(logits_and_labels):
    logits, labels = logits_and_labels
    assert smoothing_loss(logits, torch.full_like(labels, -100), EPSILON, False) == 0


@pytest.mark.parametrize("task", [name for name, objective in OBJECTIVES.items() if objective.supports_label_smoothing])
def test_shift_labels_of_every_task_fits_its_model(task):
    """The model's own loss plus the smoothing term is the smoothed loss of its logits."""
    tiny = make_tiny(task)
    model = tiny.model()
    batch = tiny.batch(model)
    outputs = model(**batch)
    check_label_smoothing(tiny.objective)
    shift_labels = tiny.objective.shift_labels
    logits, labels = outputs.logits, batch["labels"]
    term = smoothing_loss(logits, labels, EPSILON, shift_labels)
    predicting, targets = (logits[:, :-1], labels[:, 1:]) if shift_labels else (logits, labels)
    expected = F.cross_entropy(
        predicting.reshape(-1, predicting.shape[-1]), targets.reshape(-1), ignore_index=-100, label_smoothing=EPSILON
    )
    torch.testing.assert_close(outputs.loss + term, expected)


def test_labels_that_are_not_one_class_of_several_are_refused():
    for tiny in (
        make_tiny("question-answering"),
        make_tiny("sequence-classification", NUMBERS),
        make_tiny("sequence-classification", SEVERAL),
    ):
        with pytest.raises(ValueError, match="--label_smoothing_factor"):
            check_label_smoothing(tiny.objective)
    assert [name for name, objective in OBJECTIVES.items() if not objective.supports_label_smoothing] == [
        "question-answering",
        "embeddings",
    ]
