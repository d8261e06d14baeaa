"""Ranks of the right candidate, and what is measured in them."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from hf_tfm.training.metrics.retrieval import retrieval_ranks, retrieval_results, tfidf_ranks, unique_candidates

QUERIES = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
CANDIDATES = np.array([[0.9, 0.1], [0.2, 0.8], [0.0, 0.9]])


@pytest.mark.parametrize("kind", [np.asarray, csr_array], ids=["dense", "sparse"])
def test_ranks_count_the_candidates_that_are_at_least_as_similar(kind, monkeypatch):
    monkeypatch.setattr("hf_tfm.training.metrics.retrieval.CHUNK", 2)
    right = np.array([0, 1, 2])
    assert retrieval_ranks(kind(QUERIES), kind(CANDIDATES), right).tolist() == [1, 2, 3]


def test_equal_vectors_for_all_texts_get_no_credit():
    same = np.ones((12, 4))
    results = retrieval_results(retrieval_ranks(same, same, np.arange(12)))
    assert results == {"recall_at_10": 0, "mrr": pytest.approx(1 / 12), "recall_at_1": 0}


def test_equal_texts_are_one_candidate():
    rows, right = unique_candidates(["a", "b", "a", "c"])
    assert (rows, right.tolist()) == ([0, 1, 3], [0, 1, 0, 2])


def test_results_of_ranks():
    assert retrieval_results(np.array([1, 2, 10, 11])) == {
        "recall_at_10": 0.75, "mrr": pytest.approx((1 + 1 / 2 + 1 / 10 + 1 / 11) / 4), "recall_at_1": 0.25
    }  # fmt: skip


def test_parts_of_words_match_where_whole_words_do_not():
    ranks = tfidf_ranks(["mail.read_line(size)"], ["Open a file.", "Reading of lines.", "Close it."], np.array([1]))
    assert ranks["parts of words, 2 to 5 characters"].tolist() == [1]
    assert ranks["words and pairs of words"].tolist() != [1]
    assert tfidf_ranks(["a"], [" "], np.array([0])) == {}
