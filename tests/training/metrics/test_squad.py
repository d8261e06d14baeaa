"""Scores of answers equal computations by hand, and the official rules written as loops."""

from collections import Counter

import numpy as np
import pytest

from hf_tfm.training.metrics.squad import Squad, SquadV2, normalize_answer


def make_predictions(*texts: str, no_answer: tuple[float, ...] = ()) -> list[dict]:
    rows = [{"id": f"q{number}", "prediction_text": text} for number, text in enumerate(texts)]
    for row, probability in zip(rows, no_answer, strict=False):
        row["no_answer_probability"] = probability
    return rows


def make_references(*answers: list[str]) -> list[dict]:
    return [
        {"id": f"q{number}", "answers": {"text": texts, "answer_start": [0] * len(texts)}}
        for number, texts in enumerate(answers)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat, a dog.", "cat dog"),
        ("an\tanswer\n", "answer"),
        # punctuation is removed before articles, so that "a-b" is one word and "the." an article
        ("a-b", "ab"),
        ("the.", ""),
        ("Theatre", "theatre"),
        ("«Ünï»", "«ünï»"),
        ("", ""),
    ],
)
def test_normalization_by_hand(text, expected):
    assert normalize_answer(text) == expected


def test_squad_by_hand(tmp_path):
    results = Squad(tmp_path).compute(
        predictions=make_predictions("the cat!", "big red dog", "nothing"),
        references=make_references(["dog", "Cat"], ["a red dog house"], ["some"]),
    )
    # equal; 2 common words of 3 and 3 without articles: F1 2/3; none
    assert results == {"exact_match": pytest.approx(100 / 3), "f1": pytest.approx(100 * (1 + 2 / 3) / 3)}


def test_squad_matches_by_id_and_takes_answers_in_both_formats(tmp_path):
    references = [{"id": 7, "title": "x", "answers": [{"text": "yes"}]}, {"id": 8, "answers": {"text": ["no"]}}]
    predictions = [{"id": "8", "prediction_text": "no"}, {"id": "7", "prediction_text": "yes"}]
    results = Squad(tmp_path).compute(predictions=predictions, references=references)
    assert results == {"exact_match": 100.0, "f1": 100.0}


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([], [], "got no rows"),
        (make_predictions("x"), make_references([]), "question 'q0' has no reference answer; use squad_v2"),
        (make_predictions("x", "y"), [*make_references(["x"]), *make_references(["y"])], "2 references share 1 ids"),
        ([*make_predictions("x"), *make_predictions("y")], make_references(["x"], ["y"]), "2 predictions share 1 ids"),
        ([{"id": "z", "prediction_text": "x"}], make_references(["x"]), r"no prediction for 1 questions: \['q0'\]"),
        (["x"], make_references(["x"]), "reading a row failed"),
        (make_predictions("x"), [{"id": "q0"}], "reading a row failed: KeyError"),
        (
            [{"id": "q0", "prediction_text": None}],
            make_references(["x"]),
            "prediction_text must be strings; row 0 is NoneType",
        ),
    ],
)
def test_mismatched_questions_are_refused(predictions, references, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        Squad(tmp_path).compute(predictions=predictions, references=references)


def test_squad_v2_by_hand(tmp_path):
    metric = SquadV2(tmp_path)
    references = make_references(["red dog"], ["cat"], [], [])
    results = metric.compute(predictions=make_predictions("dog", "", "", "guess"), references=references)
    assert results == {
        "exact": 25.0,
        "f1": pytest.approx(100 * (2 / 3 + 1) / 4),
        "total": 4,
        "HasAns_exact": 0.0,
        "HasAns_f1": pytest.approx(100 * 2 / 3 / 2),
        "HasAns_total": 2,
        "NoAns_exact": 50.0,
        "NoAns_f1": 50.0,
        "NoAns_total": 2,
    }
    only = metric.compute(predictions=make_predictions("dog"), references=make_references(["dog"]))
    assert only == {
        "exact": 100.0,
        "f1": 100.0,
        "total": 1,
        "HasAns_exact": 100.0,
        "HasAns_f1": 100.0,
        "HasAns_total": 1,
    }
    assert "HasAns_total" not in metric.compute(predictions=make_predictions(""), references=make_references([]))
    # an answer that normalizes to nothing counts only if there is no other
    assert metric.compute(predictions=make_predictions("a"), references=make_references(["the"]))["exact"] == 100.0
    assert metric.compute(predictions=make_predictions("a"), references=make_references(["the", "x"]))["exact"] == 0.0


def test_a_high_no_answer_probability_drops_the_answer(tmp_path):
    rows = {
        "predictions": make_predictions("dog", "guess", "cat", no_answer=(0.1, 0.9, 0.3)),
        "references": make_references(["dog"], [], ["cow"]),
    }
    results = SquadV2(tmp_path).compute(**rows)
    assert (results["exact"], results["NoAns_exact"]) == (pytest.approx(100 / 3), 0.0)
    results = SquadV2(tmp_path).compute(**rows, no_answer_threshold=0.5)
    assert (results["exact"], results["NoAns_exact"]) == (pytest.approx(200 / 3), 100.0)
    # the best threshold answers only "dog"
    assert (results["best_exact"], results["best_exact_thresh"]) == (pytest.approx(200 / 3), 0.1)
    assert (results["best_f1"], results["best_f1_thresh"]) == (pytest.approx(200 / 3), 0.1)


def word_f1(a: list[str], b: list[str]) -> float:
    if not a or not b:
        return float(a == b)
    same = sum((Counter(a) & Counter(b)).values())
    return 0.0 if not same else 2 / (len(a) / same + len(b) / same)


def test_random_questions_equal_the_rules_as_loops(tmp_path):
    rng = np.random.default_rng(0)
    words = ["the", "cat", "Cat,", "dog", "a", "!"]

    def text(most: int = 4) -> str:
        return " ".join(rng.choice(words, rng.integers(0, most)))

    for _ in range(100):
        rows = int(rng.integers(1, 7))
        answers = [[text() for _ in range(rng.integers(0, 3))] for _ in range(rows)]
        texts, no_answer = [text() for _ in range(rows)], tuple(rng.permutation(rows) / rows)
        exact, f1 = [], []
        for predicted_text, golds in zip(texts, answers, strict=True):
            kept = [gold for gold in golds if normalize_answer(gold)] or [""]
            ours = normalize_answer(predicted_text)
            exact.append(max(float(ours == normalize_answer(gold)) for gold in kept))
            f1.append(max(word_f1(ours.split(), normalize_answer(gold).split()) for gold in kept))
        results = SquadV2(tmp_path)._compute(
            make_predictions(*texts, no_answer=no_answer),
            [{"id": f"q{number}", "answers": golds} for number, golds in enumerate(answers)],
        )
        assert results["exact"] == pytest.approx(100 * np.mean(exact))
        assert results["f1"] == pytest.approx(100 * np.mean(f1))
        # at every threshold: a higher probability counts as no answer, and so does an empty text
        best = {"exact": 0.0, "f1": 0.0}
        for threshold in [-1.0, *no_answer]:
            for key, scores in (("exact", exact), ("f1", f1)):
                kept = [
                    score * bool(golds)
                    if text and probability <= threshold
                    else (score if golds and probability <= threshold else not golds)
                    for score, text, golds, probability in zip(scores, texts, answers, no_answer, strict=True)
                ]
                best[key] = max(best[key], 100 * float(np.mean(kept)))
        assert {key: results[f"best_{key}"] for key in best} == pytest.approx(best)
