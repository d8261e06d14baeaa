"""Linear models on weighted counts of words and pairs of words: what a text classifier should beat.

Legend: N rows; K classes."""

import warnings
from typing import Any

import numpy as np
from scipy.sparse import hstack
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import LinearSVC

__all__ = ["linear_predictions", "rows_within_limits"]

# Limits of what a linear model is fitted on: ten seconds to half a minute on one CPU core.
MAX_BYTES, MAX_ROWS_TIMES_CLASSES = 10_000_000, 1_000_000
# A word, or a character that is neither part of a word nor white space.
TOKEN_PATTERN = r"(?u)\w+|[^\w\s]"


def rows_within_limits(texts: list[list[str]], num_classes: int) -> np.ndarray:
    """Indices of evenly spaced rows that a linear model is fitted on within the limits: all of them if there are few.
    `texts`: one list of N texts for each column."""
    rows, size = len(texts[0]), sum(len(text.encode()) for column in texts for text in column)
    most = min(MAX_ROWS_TIMES_CLASSES // num_classes, rows * MAX_BYTES // max(1, size))
    count = max(1, min(rows, most))
    return np.arange(count) * rows // count


def linear_predictions(
    train: list[list[str]], labels: np.ndarray, test: list[list[str]], kind: str
) -> np.ndarray | None:
    """What a linear model, fitted to the training texts and labels, predicts for the test texts: classes (N,), flags
    (N, K) or numbers (N,), for the `kind` of labels "class", "multi" or "number". A support vector machine (Joachims
    1998), one for each class, or ridge regression, on TF-IDF of words and pairs of words, each column of texts by
    itself. None if the texts have no words, or all labels are equal."""
    vectorizers = [TfidfVectorizer(token_pattern=TOKEN_PATTERN, ngram_range=(1, 2), sublinear_tf=True) for _ in train]
    if kind == "class" and len(np.unique(labels)) < 2:
        return None
    try:
        features = hstack([item.fit_transform(column) for item, column in zip(vectorizers, train, strict=True)])
    except ValueError:
        # no words
        return None
    support_vectors = LinearSVC(random_state=0)
    models: dict[str, Any] = {
        "class": support_vectors, "multi": OneVsRestClassifier(support_vectors), "number": Ridge(),
    }  # fmt: skip
    with warnings.catch_warnings():
        # classes that all rows or no row has; a model that is not fitted to the last digit
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "Label .* is present in")
        model = models[kind].fit(features.tocsr(), labels)
    queries = hstack([item.transform(column) for item, column in zip(vectorizers, test, strict=True)])
    return np.asarray(model.predict(queries.tocsr()))
