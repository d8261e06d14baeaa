"""The training text that is nearest to each text, by TF-IDF: its target is a simple answer to a source."""

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from .linear_baselines import TOKEN_PATTERN

__all__ = ["nearest_rows"]

# Texts that are compared with all training texts at once.
CHUNK = 256


def nearest_rows(train: list[str], queries: list[str]) -> np.ndarray | None:
    """For each query, the index of the training text with the largest cosine similarity of TF-IDF vectors of words and
    pairs of words; the first of equal ones. None if the texts have no words."""
    vectorizer = TfidfVectorizer(token_pattern=TOKEN_PATTERN, ngram_range=(1, 2), sublinear_tf=True)
    try:
        known = vectorizer.fit_transform(train).T.tocsr()
    except ValueError:
        # no words
        return None
    vectors = vectorizer.transform(queries)
    chunks = (vectors[start : start + CHUNK] @ known for start in range(0, len(queries), CHUNK))
    return np.concatenate([np.asarray(chunk.argmax(axis=1)).ravel() for chunk in chunks])
