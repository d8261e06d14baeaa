"""Retrieval: where the right text stands when all candidates are ordered by their similarity to a query.

Legend: N queries, M candidates, C features."""

from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.feature_extraction.text import TfidfVectorizer

from .linear_baselines import TOKEN_PATTERN

__all__ = ["retrieval_ranks", "retrieval_results", "tfidf_ranks", "unique_candidates"]

# Queries that are compared with all candidates at once.
CHUNK = 256
# name -> what TF-IDF counts; of "words", (?u)\w+ keeps a name like read_line whole
TFIDF_FEATURES: dict[str, dict[str, Any]] = {
    "words and pairs of words": {"token_pattern": TOKEN_PATTERN, "ngram_range": (1, 2)},
    "parts of words, 2 to 5 characters": {"analyzer": "char_wb", "ngram_range": (2, 5)},
}


def unique_candidates(texts: list[str]) -> tuple[list[int], np.ndarray]:
    """The first row of each different text, (M,), and for each row the candidate that is its text, (N,)."""
    first: dict[str, int] = {}
    for row, text in enumerate(texts):
        first.setdefault(text, row)
    number = {text: index for index, text in enumerate(first)}
    return list(first.values()), np.array([number[text] for text in texts])


def retrieval_ranks(queries: Any, candidates: Any, right: np.ndarray) -> np.ndarray:
    """The rank (N,), from 1, of each query's right candidate (N,) by dot product. Vectors (N, C) and (M, C), dense or
    sparse. Of equally similar candidates the right one is last, so that equal vectors for all texts get no credit."""
    ranks = []
    for start in range(0, len(right), CHUNK):
        scores = queries[start : start + CHUNK] @ candidates.T
        scores = scores.toarray() if issparse(scores) else scores
        own = np.take_along_axis(scores, right[start : start + CHUNK, None], axis=1)
        ranks.append((scores >= own).sum(axis=1))
    return np.concatenate(ranks)


def retrieval_results(ranks: np.ndarray) -> dict[str, float]:
    """Shares of right candidates among the first 10 and at the first place, and the mean of 1 / rank."""
    return {
        "recall_at_10": float((ranks <= 10).mean()),
        "mrr": float((1 / ranks).mean()),
        "recall_at_1": float((ranks == 1).mean()),
    }


def tfidf_ranks(queries: list[str], candidates: list[str], right: np.ndarray) -> dict[str, np.ndarray]:
    """The ranks (N,) by cosine similarity of TF-IDF vectors, by what they count; weights are those of the candidates.
    Without what the candidates have no feature of."""
    ranks = {}
    for name, features in TFIDF_FEATURES.items():
        vectorizer = TfidfVectorizer(sublinear_tf=True, **features)
        try:
            known = vectorizer.fit_transform(candidates)
        except ValueError:
            # no words
            continue
        ranks[name] = retrieval_ranks(vectorizer.transform(queries), known, right)
    return ranks
