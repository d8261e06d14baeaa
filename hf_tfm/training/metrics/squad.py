"""Exact match and F1 of answers, by the definitions of SQuAD's own evaluation scripts 1.1 and 2.0, which no installable
library contains."""

import re
import string
from collections import Counter
from typing import Any

import numpy as np
from datasets import Features, List, Value

from .base import InMemoryMetric, check_strings

__all__ = ["Squad", "SquadV2", "normalize_answer"]

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """SQuAD's normalization: lower case, without ASCII punctuation, English articles and extra white space."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def _word_f1(prediction: str, reference: str) -> float:
    """F1 of the words of two normalized answers."""
    predicted, actual = prediction.split(), reference.split()
    hits = (Counter(predicted) & Counter(actual)).total()
    return 2 * hits / (len(predicted) + len(actual)) if hits else 0.0


class QuestionMetric(InMemoryMetric):
    """Predictions and references are matched by the id of their question; keys that are not listed here are dropped."""

    inputs = Features(
        {
            "predictions": {
                "id": Value("string"), "prediction_text": Value("string"), "no_answer_probability": Value("float64")
            },
            "references": {"id": Value("string"), "answers": List(Value("string"))},
        }
    )  # fmt: skip

    def prepare(self, batch: dict[str, Any]) -> dict[str, Any]:
        try:
            predictions = [
                {
                    "id": str(row["id"]),
                    "prediction_text": row["prediction_text"],
                    "no_answer_probability": row.get("no_answer_probability"),
                }
                for row in batch["predictions"]
            ]
            references = [
                {"id": str(row["id"]), "answers": _answer_texts(row["answers"])} for row in batch["references"]
            ]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{self.name} compares predictions {{'id', 'prediction_text'}} with references "
                f"{{'id', 'answers': {{'text': [...]}}}}; reading a row failed: {error!r}."
            ) from error
        check_strings([row["prediction_text"] for row in predictions], "prediction_text")
        for row in references:
            check_strings(row["answers"], f"answers of question {row['id']!r}")
        return {"predictions": predictions, "references": references}

    def by_question(self, predictions: Any, references: Any) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Each reference with its prediction. Raises ValueError if an id is missing or occurs twice."""
        prediction_of = {row["id"]: row for row in predictions}
        question_ids = {row["id"] for row in references}
        for count, side in ((len(prediction_of), "predictions"), (len(question_ids), "references")):
            if count < len(references):
                raise ValueError(
                    f"{self.name}: {len(references)} {side} share {count} ids; give each question its own id."
                )
        unanswered = sorted(question_ids - set(prediction_of))
        if unanswered:
            raise ValueError(f"{self.name} has no prediction for {len(unanswered)} questions: {unanswered[:5]}.")
        return [(prediction_of[row["id"]], row) for row in references]


def _answer_texts(answers: Any) -> list[str]:
    """From {"text": [...]}, or a list of {"text": ...}."""
    return list(answers["text"]) if isinstance(answers, dict) else [answer["text"] for answer in answers]


class Squad(QuestionMetric):
    """Exact match and F1 of words in percent, the maximum over the reference answers of each question.

    Predictions {"id", "prediction_text"}, references {"id", "answers": {"text": [...]}}; every question must have an
    answer (else use `SquadV2`). Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1 and its evaluation script 1.1."""

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        exact, f1 = [], []
        for prediction, question in self.by_question(predictions, references):
            if not question["answers"]:
                raise ValueError(f"{self.name}: question {question['id']!r} has no reference answer; use squad_v2.")
            predicted = normalize_answer(prediction["prediction_text"])
            texts = [normalize_answer(text) for text in question["answers"]]
            exact.append(predicted in texts)
            f1.append(max(_word_f1(predicted, text) for text in texts))
        return {"exact_match": 100 * float(np.mean(exact)), "f1": 100 * float(np.mean(f1))}


class SquadV2(QuestionMetric):
    """`exact` and `f1` in percent and `total` over all questions, and the same over those with an answer (`HasAns_...`)
    and without one (`NoAns_...`), if there are any. "" is the correct prediction for a question without an answer.

    Rows as for `Squad`. A prediction whose "no_answer_probability" exceeds `no_answer_threshold` counts as "". If any
    prediction has this probability, the results of the best threshold are added (`best_exact`, `best_f1`, and each with
    `_thresh`); it is tuned on these same rows. Rajpurkar et al. 2018, arXiv:1806.03822, evaluation script 2.0."""

    def _compute(self, predictions: Any, references: Any, no_answer_threshold: float = 1.0) -> dict[str, Any]:
        pairs = self.by_question(predictions, references)
        raw = np.array([_exact_and_f1(prediction["prediction_text"], row["answers"]) for prediction, row in pairs])
        no_answer = np.array([prediction["no_answer_probability"] for prediction, _ in pairs], dtype=float)
        has_probabilities = not np.isnan(no_answer).all()
        no_answer = np.nan_to_num(no_answer)
        has_answer = np.array([bool(row["answers"]) for _, row in pairs])
        scores = np.where((no_answer > no_answer_threshold)[:, None], ~has_answer[:, None], raw)
        results: dict[str, Any] = _mean_scores(scores)
        for prefix, chosen in (("HasAns", has_answer), ("NoAns", ~has_answer)):
            if chosen.any():
                results |= {f"{prefix}_{key}": value for key, value in _mean_scores(scores[chosen]).items()}
        if has_probabilities:
            is_text = np.array([bool(prediction["prediction_text"]) for prediction, _ in pairs])
            for key, column in zip(("exact", "f1"), raw.T, strict=True):
                gains = np.where(has_answer, column, -is_text.astype(float))
                results[f"best_{key}"], results[f"best_{key}_thresh"] = _best_threshold(gains, no_answer, has_answer)
        return results


def _exact_and_f1(prediction: str, answers: list[str]) -> tuple[float, float]:
    """Exact match and F1. Answers that normalize to nothing count only if there is no other."""
    predicted = normalize_answer(prediction)
    texts = [text for text in map(normalize_answer, answers) if text] or [""]
    if not predicted or texts == [""]:
        equal = float(predicted in texts)
        return equal, equal
    return float(predicted in texts), max(_word_f1(predicted, text) for text in texts)


def _mean_scores(scores: np.ndarray) -> dict[str, Any]:
    exact, f1 = (100 * scores.mean(axis=0)).tolist()
    return {"exact": exact, "f1": f1, "total": len(scores)}


def _best_threshold(gains: np.ndarray, no_answer: np.ndarray, has_answer: np.ndarray) -> tuple[float, float]:
    """Best score in percent and its threshold. Raising the threshold answers one more question at a time, in order of
    the `no_answer` probability, and adds its gain; a threshold below all of them answers none."""
    order = np.argsort(no_answer, kind="stable")
    totals = np.concatenate([[0.0], np.cumsum(gains[order])]) + (~has_answer).sum()
    best = int(totals.argmax())
    return 100 * float(totals[best]) / len(gains), float(no_answer[order][best - 1]) if best else 0.0
