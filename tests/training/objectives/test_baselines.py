"""The simple method beside the result of a task: every task has one, in a result that the task measures."""

import math

import numpy as np
import pytest
import torch

from hf_tfm.training.metrics.nearest_neighbor import nearest_rows
from hf_tfm.training.metrics.sliding_window import sliding_window_answer
from hf_tfm.training.metrics.text_baselines import unigram_nats_per_token
from hf_tfm.training.objectives import OBJECTIVES
from hf_tfm.training.objectives.label_frequencies import label_counts
from tests.training.tiny import ROWS, make_tiny

LINEAR = "linear classifier on words and pairs of words"
# task -> names of its simple methods
METHODS = {
    "causal-lm": {"byte 6-gram", "xz"},
    "masked-lm": {"unigram"},
    "denoising": {"unigram"},
    "seq2seq": {"target of the nearest training source"},
    "sequence-classification": {"most frequent class", LINEAR},
    "token-classification": {"most frequent tag of the word"},
    "question-answering": {"sliding window", "no answer"},
    "multiple-choice": {"most words in common"},
    "chat": {"unigram"},
    "embeddings": {"TF-IDF of words and pairs of words", "TF-IDF of parts of words, 2 to 5 characters"},
}


def baselines_of(tiny):
    return tiny.objective.baselines(tiny.data, tiny.examples, tiny.tokenizer)


@pytest.mark.parametrize("task", OBJECTIVES)
def test_every_task_has_a_simple_method_in_a_result_that_it_measures(task):
    tiny = make_tiny(task)
    found = baselines_of(tiny)
    assert found.keys() == METHODS[task]
    assert all(math.isfinite(value) for value in found.values())
    assert (tiny.objective.baseline_metric or next(iter(tiny.objective.metric_labels))) in tiny.objective.metric_labels


def test_simple_methods_have_these_results():
    found = {task: baselines_of(make_tiny(task)) for task in METHODS}
    assert found["sequence-classification"] == {"most frequent class": 3 / 8, LINEAR: 1}
    assert found["token-classification"] == {"most frequent tag of the word": 1}
    # the stem has one of the three colours in three of the eight rows; the first choice is taken in the others
    assert found["multiple-choice"] == {"most words in common": 5 / 8}
    # the same rows are in both splits
    assert found["seq2seq"] == {"target of the nearest training source": pytest.approx(100)}
    # three of the eight questions have no answer
    assert found["question-answering"]["no answer"] == pytest.approx(37.5)


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        (["1.5", "2.5", "1", "3"], "linear regression on words and pairs of words"),
        ([["a"], ["a", "b"], [], ["b"]], LINEAR),
    ],
)
def test_other_labels_have_a_linear_baseline_in_their_main_result(labels, name):
    rows = [ROWS["sequence-classification"](at) | {"label": labels[at % 4]} for at in range(8)]
    [(found, value)] = baselines_of(make_tiny("sequence-classification", rows)).items()
    assert (found, value > 0.5) == (name, True)


@pytest.mark.parametrize("task", ["masked-lm", "denoising", "chat"])
def test_the_unigram_is_the_loss_of_a_model_that_knows_only_frequencies(task, tmp_path):
    """It has the unit of the result, on the same tokens: a head that has only a bias gives the same number."""
    tiny = make_tiny(task)
    counts = label_counts(tiny.objective, tiny.examples["train"], tiny.tokenizer)
    model = tiny.model()
    model.lm_head.weight.data.zero_()
    model.lm_head.bias = torch.nn.Parameter(torch.tensor(np.log((counts + 1) / (counts + 1).sum())).float())
    measured = tiny.measure(tiny.kept(model), tmp_path)["nats_per_token"]
    assert baselines_of(tiny)["unigram"] == pytest.approx(measured, rel=1e-4)


def test_frequent_tokens_cost_less():
    counts = np.array([8, 1, 0])
    assert unigram_nats_per_token(counts, np.array([2, 0, 0])) == pytest.approx(-math.log(9 / 12))
    assert unigram_nats_per_token(counts, np.array([0, 0, 2])) == pytest.approx(-math.log(1 / 12))


def test_the_sliding_window_finds_what_stands_beside_the_words_of_the_question():
    context = "Paris is in France. The capital of Peru is Lima since 1535. Rivers are long."
    assert sliding_window_answer(context, "What is the capital of Peru?", 1) in ("Lima", "is")
    assert sliding_window_answer(context, "Which rivers are long there", 2) in ("Rivers are", "are long")
    assert sliding_window_answer("...", "Why?", 2) == ""
    assert sliding_window_answer("One", "Why?", 9) == "One"


def test_the_nearest_row_has_the_rarest_words_in_common():
    train = ["a red house", "a green house", "a green tree in the sun"]
    assert nearest_rows(train, ["the tree", "red", "nothing of that"]).tolist()[:2] == [2, 0]
    assert nearest_rows([" "], ["x"]) is None
