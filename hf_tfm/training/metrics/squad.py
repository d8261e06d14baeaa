"""Answers as text against reference answers: the metrics of SQuAD 1.1 and 2.0."""

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
    """Lower case, without ASCII punctuation, English articles and superfluous white space, as SQuAD compares."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def _word_f1(prediction: str, reference: str) -> float:
    """F1 of the words of two normalised answers; 0 where they share none."""
    predicted, actual = prediction.split(), reference.split()
    hits = (Counter(predicted) & Counter(actual)).total()
    return 2 * hits / (len(predicted) + len(actual)) if hits else 0.0


class QuestionMetric(InMemoryMetric):
    """Rows of questions, matched by their id; keys that are not listed here are dropped."""

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
        """Each reference with its prediction. Raises ValueError if an id is missing or not alone."""
        answers = {row["id"]: row for row in predictions}
        questions = {row["id"] for row in references}
        for count, side in ((len(answers), "predictions"), (len(questions), "references")):
            if count < len(references):
                raise ValueError(
                    f"{self.name}: {len(references)} {side} share {count} ids; give each question its own."
                )
        unanswered = sorted(questions - set(answers))
        if unanswered:
            raise ValueError(f"{self.name} has no prediction for {len(unanswered)} questions: {unanswered[:5]}.")
        return [(answers[row["id"]], row) for row in references]


def _answer_texts(answers: Any) -> list[str]:
    """From {"text": [...]}, or a list of {"text": ...}."""
    return list(answers["text"]) if isinstance(answers, dict) else [answer["text"] for answer in answers]


class Squad(QuestionMetric):
    """Exact match and F1 of words in percent, each against the reference answer that suits best.

    Predictions {"id", "prediction_text"}, references {"id", "answers": {"text": [...]}}; every question has an answer
    (see `SquadV2`). Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1 and its evaluation script 1.1."""

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        exact, overlap = [], []
        for answer, question in self.by_question(predictions, references):
            if not question["answers"]:
                raise ValueError(f"{self.name}: question {question['id']!r} has no reference answer; use squad_v2.")
            predicted = normalize_answer(answer["prediction_text"])
            texts = [normalize_answer(text) for text in question["answers"]]
            exact.append(predicted in texts)
            overlap.append(max(_word_f1(predicted, text) for text in texts))
        return {"exact_match": 100 * float(np.mean(exact)), "f1": 100 * float(np.mean(overlap))}


class SquadV2(QuestionMetric):
    """`exact` and `f1` in percent and `total` of all questions, and of those with and without answer (`HasAns_...`,
    `NoAns_...`), where there are such. The right prediction for a question without answer is "".

    Rows as for `Squad`; where a prediction's "no_answer_probability" exceeds `no_answer_threshold` it counts as "". If
    any prediction has one, what the best threshold would give is added (`best_exact`, `best_f1`, and each with
    `_thresh`): it is chosen on these very rows. Rajpurkar et al. 2018, arXiv:1806.03822, evaluation script 2.0."""

    def _compute(self, predictions: Any, references: Any, no_answer_threshold: float = 1.0) -> dict[str, Any]:
        pairs = self.by_question(predictions, references)
        raw = np.array([_score_or_abstention(answer["prediction_text"], row["answers"]) for answer, row in pairs])
        doubts = np.array([answer["no_answer_probability"] for answer, _ in pairs], dtype=float)
        given = not np.isnan(doubts).all()
        doubts = np.nan_to_num(doubts)
        has_answer = np.array([bool(row["answers"]) for _, row in pairs])
        abstains = doubts > no_answer_threshold
        scores = np.where(abstains[:, None], ~has_answer[:, None], raw)
        results: dict[str, Any] = _summary(scores)
        for prefix, chosen in (("HasAns", has_answer), ("NoAns", ~has_answer)):
            if chosen.any():
                results |= {f"{prefix}_{key}": value for key, value in _summary(scores[chosen]).items()}
        if given:
            spoken = np.array([bool(answer["prediction_text"]) for answer, _ in pairs])
            for key, column in zip(("exact", "f1"), raw.T, strict=True):
                gains = np.where(has_answer, column, -spoken.astype(float))
                results[f"best_{key}"], results[f"best_{key}_thresh"] = _best_threshold(gains, doubts, has_answer)
        return results


def _score_or_abstention(prediction: str, answers: list[str]) -> tuple[float, float]:
    """Exact match and F1; answers that are nothing once normalised count only if there is no other."""
    predicted = normalize_answer(prediction)
    texts = [text for text in map(normalize_answer, answers) if text] or [""]
    if not predicted or texts == [""]:
        equal = float(predicted in texts)
        return equal, equal
    return float(predicted in texts), max(_word_f1(predicted, text) for text in texts)


def _summary(scores: np.ndarray) -> dict[str, Any]:
    exact, overlap = (100 * scores.mean(axis=0)).tolist()
    return {"exact": exact, "f1": overlap, "total": len(scores)}


def _best_threshold(gains: np.ndarray, doubts: np.ndarray, has_answer: np.ndarray) -> tuple[float, float]:
    """Percent and threshold: one starts with no answer at all and answers questions in order of doubt."""
    order = np.argsort(doubts, kind="stable")
    totals = np.concatenate([[0.0], np.cumsum(gains[order])]) + (~has_answer).sum()
    best = int(totals.argmax())
    return 100 * float(totals[best]) / len(gains), float(doubts[order][best - 1]) if best else 0.0
