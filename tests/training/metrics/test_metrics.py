"""Metrics equal computations by hand, and scikit-learn and scipy on random data."""

import math
import warnings

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch

from hf_tfm.training.metrics.classification import F1, Accuracy, MatthewsCorrelation, Precision, Recall
from hf_tfm.training.metrics.correlation import Pearsonr, Spearmanr
from hf_tfm.training.metrics.perplexity import Perplexity, sum_losses, sum_next_token_losses

CLASS_METRICS = {"f1": F1, "precision": Precision, "recall": Recall}
CASES = 40


# Tests on random data call _compute directly, because storing rows takes longer than measuring them.
def random_pairs(seed: int, classes: int = 2, columns: int | None = None):
    """CASES pairs of predictions and references of 1 to 30 rows; the first half often has one class only."""
    rng = np.random.default_rng(seed)
    for case in range(CASES):
        rows = int(rng.integers(1, 31))
        shape = rows if columns is None else (rows, columns)
        low = rng.integers(0, classes) if case < CASES // 2 else 0
        yield rng.integers(low, classes, shape), rng.integers(0, classes, shape)


def test_sums_equal_a_loop_over_tokens():
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 5, 7), torch.randint(0, 7, (3, 5))
    labels[0, 2] = labels[2, 3:] = -100
    expected = []
    for row, targets in zip(logits.log_softmax(-1), labels, strict=True):
        scored = [t for t in range(1, 5) if targets[t] != -100]
        expected.append([-sum(row[t - 1, targets[t]].item() for t in scored), len(scored)])
    torch.testing.assert_close(sum_next_token_losses(logits, labels), torch.tensor(expected))
    shifted = torch.cat([torch.full((3, 1), -100), labels[:, 1:]], dim=1)
    torch.testing.assert_close(sum_losses(logits.roll(1, dims=1), shifted), torch.tensor(expected))


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


def test_metric_writes_only_to_its_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/nonexistent")
    Perplexity(tmp_path / "scratch").compute(losses=[1.0], tokens=[1], source_bytes=1)
    assert [path.name for path in tmp_path.iterdir()] == ["scratch"]


def test_bits_per_byte_needs_the_size_of_the_text(tmp_path):
    results = Perplexity(tmp_path).compute(losses=[4.0, 8.0], tokens=[2, 4])
    assert results == {"nats_per_token": 2.0, "perplexity": pytest.approx(math.exp(2)), "scored_tokens": 6}


def test_perplexity_without_scored_tokens_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no scored tokens in 2 rows"):
        Perplexity(tmp_path).compute(losses=[0.0, 0.0], tokens=[0, 0])


# All metrics


@pytest.mark.parametrize("rows", [{}, {"predictions": [], "references": []}])
@pytest.mark.parametrize("metric_class", [Accuracy, F1, MatthewsCorrelation, Pearsonr, Spearmanr])
def test_an_empty_split_is_refused(metric_class, rows, tmp_path):
    with pytest.raises(ValueError, match="got no rows"):
        metric_class(tmp_path).compute(**rows)


def test_invalid_inputs_are_refused_and_not_stored(tmp_path):
    metric = Accuracy(tmp_path)
    for rows, message in (
        ({"predictions": [1]}, "takes predictions and references; got predictions"),
        ({"predictions": [1], "references": [1, 2]}, "unequally many: {'predictions': 1, 'references': 2}"),
        ({"predictions": [[1, 0]], "references": [1]}, "unequal shapes"),
        ({"predictions": [0.3], "references": [1]}, "whole numbers.*argmax"),
        ({"predictions": [math.nan], "references": [1]}, "whole numbers"),
        ({"predictions": ["1"], "references": ["1"]}, "whole numbers"),
        ({"predictions": [[1, 2]], "references": [[1, 1]]}, "must be 0 or 1"),
    ):
        with pytest.raises(ValueError, match=message):
            metric.compute(**rows)
    with pytest.raises(ValueError, match="got predictions and references and losses"):
        metric.add_batch(predictions=[1], references=[1], losses=[1])
    assert metric.compute(predictions=[[1, 0]], references=[[1, 0]]) == {"accuracy": 1.0}


def test_rows_accumulate_over_batches_and_are_then_dropped(tmp_path):
    metric = Accuracy(tmp_path)
    metric.add_batch(predictions=torch.tensor([1, 2]), references=np.array([1, 0]))
    metric.add(prediction=3, reference=3)
    assert metric.compute(predictions=[4], references=[0]) == {"accuracy": 0.5}
    assert metric.compute(predictions=[4], references=[4]) == {"accuracy": 1.0}


# Classes


def test_accuracy_by_hand(tmp_path):
    metric = Accuracy(tmp_path)
    assert metric.compute(predictions=[0, 2, 1, 1], references=[0, 1, 2, 1]) == {"accuracy": 0.5}
    # with several labels per row, all of them must be correct; a single column is read as class ids
    assert metric.compute(predictions=[[1, 0], [1, 1]], references=[[1, 0], [0, 1]]) == {"accuracy": 0.5}
    assert metric.compute(predictions=[[5], [7]], references=[5, 6]) == {"accuracy": 0.5}
    assert metric.compute(predictions=[[1.0, 0.0]], references=[[True, False]]) == {"accuracy": 1.0}


def test_f1_by_hand(tmp_path):
    # class 0: 1 correct, 2 predicted, 1 true; class 1: 1, 1, 2; class 2: 1, 2, 2
    rows = {"predictions": [0, 0, 1, 2, 2], "references": [0, 1, 1, 2, 3]}
    per_class = [2 / 3, 2 / 3, 2 / 3, 0.0]
    metric = F1(tmp_path)
    assert metric.compute(**rows, average=None)["f1"] == pytest.approx(per_class)
    assert metric.compute(**rows, average="macro")["f1"] == pytest.approx(0.5)
    assert metric.compute(**rows, average="micro")["f1"] == pytest.approx(3 / 5)
    assert metric.compute(**rows, average="weighted")["f1"] == pytest.approx((1 + 2 + 1) / 5 * 2 / 3)
    assert metric.compute(**rows, average="macro", labels=[3, 9])["f1"] == 0.0
    assert metric.compute(predictions=[1, 1, 0], references=[1, 0, 0])["f1"] == pytest.approx(2 / 3)
    assert metric.compute(predictions=[1, 1, 0], references=[1, 0, 0], pos_label=0)["f1"] == pytest.approx(2 / 3)
    assert metric.compute(predictions=[0, 0], references=[0, 0]) == {"f1": 0.0}


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (([0, 1, 2], [0, 1, 2]), {}, 'needs two classes and got 3 classes; give average="macro"'),
        (([[0, 1]], [[0, 1]]), {}, "got several labels at once"),
        (([0, 1], [1, 0]), {"pos_label": 3}, r"pos_label=3 does not occur; the classes are \[0, 1\]"),
        (([0, 1], [1, 0]), {"average": "mean"}, "average='mean' is unknown; choose one of"),
        (([0, 1], [1, 0]), {"average": "macro", "labels": []}, "labels is empty"),
        (([[0, 1]], [[0, 1]]), {"average": "macro", "labels": [2]}, "labels must be columns, 0 to 1; got"),
    ],
)
def test_undefined_averages_are_refused(rows, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        F1(tmp_path).compute(predictions=rows[0], references=rows[1], **options)


@pytest.mark.parametrize("key", CLASS_METRICS)
@pytest.mark.parametrize(("classes", "columns"), [(2, None), (5, None), (2, 4)])
def test_fractions_per_class_equal_scikit_learn(key, classes, columns, tmp_path):
    sklearn_score = getattr(sklearn.metrics, f"{key}_score")
    metric = CLASS_METRICS[key](tmp_path)
    labels = [3, 1] if columns is None else [2, 0]
    options = [{"average": average} for average in ("macro", "micro", "weighted", None)]
    options += [option | {"labels": labels} for option in options]
    options += [{"pos_label": 0}, {"pos_label": 1}] if classes == 2 and columns is None else []
    for predicted, actual in random_pairs(0, classes, columns):
        for option in options:
            ours = metric._compute(predicted.tolist(), actual.tolist(), **option)
            expected = sklearn_score(actual, predicted, **option, zero_division=0)
            np.testing.assert_allclose(ours[key], expected, rtol=1e-12, atol=1e-12, err_msg=f"{option}")


@pytest.mark.parametrize(("classes", "columns"), [(2, None), (5, None), (2, 4)])
def test_accuracy_equals_scikit_learn(classes, columns, tmp_path):
    metric = Accuracy(tmp_path)
    for predicted, actual in random_pairs(1, classes, columns):
        ours = metric._compute(predicted.tolist(), actual.tolist())
        assert ours["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(actual, predicted))


def test_matthews_correlation_by_hand(tmp_path):
    metric = MatthewsCorrelation(tmp_path)
    # 1 true positive, 1 false positive, 2 true negatives: (1*2 - 1*0) / sqrt(2 * 1 * 3 * 2)
    results = metric.compute(predictions=[1, 1, 0, 0], references=[1, 0, 0, 0])
    assert results["matthews_correlation"] == pytest.approx(2 / math.sqrt(12))
    assert metric.compute(predictions=[0, 1, 2], references=[0, 1, 2])["matthews_correlation"] == pytest.approx(1)
    assert metric.compute(predictions=[1, 1], references=[0, 1]) == {"matthews_correlation": 0.0}
    assert metric.compute(predictions=[1, 1], references=[1, 1]) == {"matthews_correlation": 0.0}
    with pytest.raises(ValueError, match="one class per row"):
        metric.compute(predictions=[[1, 0]], references=[[1, 0]])


@pytest.mark.parametrize("classes", [2, 5])
def test_matthews_correlation_equals_scikit_learn(classes, tmp_path):
    metric = MatthewsCorrelation(tmp_path)
    for predicted, actual in random_pairs(2, classes):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn warns of a single class
            ours = metric._compute(predicted.tolist(), actual.tolist())
            expected = sklearn.metrics.matthews_corrcoef(actual, predicted)
        assert ours["matthews_correlation"] == pytest.approx(expected, abs=1e-12)


# Numbers


def test_correlations_by_hand(tmp_path):
    pearson, spearman = Pearsonr(tmp_path), Spearmanr(tmp_path)
    # deviations (-1, 0, 1) and (-2, -1, 3): 5 / sqrt(2 * 14)
    rows = {"predictions": [1, 2, 3], "references": [0, 1, 5]}
    assert pearson.compute(**rows)["pearsonr"] == pytest.approx(5 / math.sqrt(28))
    assert spearman.compute(**rows)["spearmanr"] == pytest.approx(1)
    # ranks (1.5, 1.5, 3) and (1, 2, 3): 1.5 / sqrt(1.5 * 2)
    tied = {"predictions": [4, 4, 9], "references": [[0.1], [0.2], [0.3]]}
    assert spearman.compute(**tied)["spearmanr"] == pytest.approx(1.5 / math.sqrt(3))


@pytest.mark.parametrize("metric_class", [Pearsonr, Spearmanr])
@pytest.mark.parametrize("column", [[2.0, 2.0, 2.0], [1.0, math.nan, 2.0], [7.0]])
def test_correlation_with_a_constant_or_nan_column_is_nan(metric_class, column, tmp_path):
    others = [1.0, 2.0, 3.0][: len(column)]
    for predicted, actual in ((column, others), (others, column)):
        (value,) = metric_class(tmp_path).compute(predictions=predicted, references=actual).values()
        assert math.isnan(value)


def test_correlation_takes_one_number_per_row(tmp_path):
    with pytest.raises(ValueError, match="one number per row"):
        Pearsonr(tmp_path).compute(predictions=[[1, 2], [3, 4]], references=[1, 2])


@pytest.mark.parametrize("metric_class", [Pearsonr, Spearmanr])
@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_correlations_equal_scipy(metric_class, scale, tmp_path):
    scipy_correlation = getattr(scipy.stats, metric_class.__name__.lower())
    metric, rng = metric_class(tmp_path), np.random.default_rng(3)
    for case in range(CASES):
        rows = int(rng.integers(2, 20))
        # every second case has few distinct numbers: ties, and sometimes a constant column
        x, y = rng.integers(0, 3, (2, rows)) if case % 2 else rng.normal(size=(2, rows))
        (ours,) = metric._compute((x * scale).tolist(), (y * scale).tolist()).values()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scipy warns of constant columns
            expected = scipy_correlation(x * scale, y * scale).statistic
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-9, err_msg=f"{x} {y}")
