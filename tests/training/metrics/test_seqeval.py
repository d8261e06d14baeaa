"""Span scores equal computations by hand, and seqeval's default mode if it is installed."""

import math
import warnings

import numpy as np
import pytest

from hf_tfm.training.metrics.seqeval import Seqeval, get_spans


def spans(text: str, **options) -> list[tuple[str, int, int]]:
    return list(get_spans([text.split()], **options))


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("B-PER I-PER O B-LOC", [("PER", 0, 1), ("LOC", 3, 3)]),
        # IOB1: B only if a span follows another of the same type
        ("I-PER I-PER B-PER O I-LOC", [("PER", 0, 1), ("PER", 2, 2), ("LOC", 4, 4)]),
        # IOE
        ("I-PER E-PER E-PER O I-LOC E-LOC", [("PER", 0, 1), ("PER", 2, 2), ("LOC", 4, 5)]),
        # BIOES
        ("B-PER I-PER E-PER S-PER S-LOC B-LOC E-LOC", [("PER", 0, 2), ("PER", 3, 3), ("LOC", 4, 4), ("LOC", 5, 6)]),
        # an I of another type starts a span, and so does an I outside a span
        ("B-PER I-LOC O I-LOC", [("PER", 0, 0), ("LOC", 1, 1), ("LOC", 3, 3)]),
        ("B I O B-X-Y I-X-Y", [("_", 0, 1), ("X-Y", 3, 4)]),
        ("O O", []),
    ],
)
def test_spans_of_every_scheme(tags, expected):
    assert spans(tags) == expected
    assert spans(" ".join("-".join(reversed(tag.split("-", 1))) for tag in tags.split()), suffix=True) == expected


def test_spans_do_not_cross_sequences():
    assert list(get_spans([["B-PER"], ["I-PER"], [], ["O", "I-PER"]])) == [("PER", 0, 0), ("PER", 2, 2), ("PER", 6, 6)]


def test_scores_by_hand(tmp_path):
    # 3 predicted and 3 true spans have one in common; 5 of 8 tags are correct
    results = Seqeval(tmp_path).compute(
        predictions=[["B-PER", "I-PER", "O", "B-LOC", "O"], ["B-PER", "O", "O"]],
        references=[["B-PER", "I-PER", "O", "B-LOC", "I-LOC"], ["O", "O", "B-PER"]],
    )
    assert results == {
        "LOC": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "number": 1},
        "PER": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "number": 2},
        "overall_precision": pytest.approx(1 / 3),
        "overall_recall": pytest.approx(1 / 3),
        "overall_f1": pytest.approx(1 / 3),
        "overall_accuracy": pytest.approx(5 / 8),
    }


def test_without_spans_all_fractions_are_zero(tmp_path):
    results = Seqeval(tmp_path).compute(predictions=[["O", "O"], []], references=[["O", "O"], []])
    zeros = dict.fromkeys(("overall_precision", "overall_recall", "overall_f1"), 0.0)
    assert results == zeros | {"overall_accuracy": 1.0}


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([], [], "got no rows"),
        ([[], []], [[], []], "got no tags: all 2 rows are empty"),
        ([["O"], ["O", "O"]], [["O"], ["O"]], "row 1 has 2 predictions and 1 references"),
        (["O"], ["O"], "one per sequence; got the string 'O'"),
        ([[1]], [["O"]], "must be strings; row 0 is int"),
        ([["O", ""]], [["O", "O"]], "empty tag at position 1"),
    ],
)
def test_invalid_sequences_are_refused(predictions, references, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        Seqeval(tmp_path).compute(predictions=predictions, references=references)


def test_tags_without_a_prefix_give_a_warning(tmp_path):
    rows = [["NOUN", "VERB", "O", "B-PER"]]
    with pytest.warns(UserWarning, match=r"expects tags like B-PER, I-PER and O; got \['NOUN', 'VERB'\]"):
        Seqeval(tmp_path).compute(predictions=rows, references=rows)


def random_sequences(rng: np.random.Generator, tags: list[str], lengths: list[int]) -> list[list[str]]:
    return [[tags[code] for code in rng.integers(0, len(tags), length)] for length in lengths]


# tags of random sequences, which are partly well-formed
ALPHABETS = {
    "iob": "O B-PER I-PER B-LOC I-LOC",
    "bioes": "O B-PER I-PER E-PER S-PER B-LOC I-LOC E-LOC S-LOC",
    "no_types": "O B I E S B-PER I-PER",
    "malformed": "O B-PER I-PER U-PER L-PER . .-PER X PER B- I- -PER B-X-Y I-X-Y B-Y",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [False, True])
@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_spans_equal_seqeval(alphabet, suffix):
    get_entities = pytest.importorskip("seqeval.metrics.sequence_labeling").get_entities
    rng, tags = np.random.default_rng(0), ALPHABETS[alphabet].split()
    tags = ["-".join(reversed(tag.split("-", 1))) for tag in tags] if suffix else tags
    for _ in range(300):
        rows = random_sequences(rng, tags, rng.integers(0, 9, rng.integers(1, 5)).tolist())
        assert list(get_spans(rows, suffix)) == get_entities(rows, suffix), rows


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_scores_equal_seqeval(alphabet, tmp_path):
    seqeval_metrics = pytest.importorskip("seqeval.metrics")
    rng, tags, metric = np.random.default_rng(1), ALPHABETS[alphabet].split(), Seqeval(tmp_path)
    for _ in range(60):
        lengths = rng.integers(1, 9, rng.integers(1, 5)).tolist()
        references = random_sequences(rng, tags, lengths)
        predictions = [
            [tag if rng.random() < 0.6 else other for tag, other in zip(row, changed, strict=True)]
            for row, changed in zip(references, random_sequences(rng, tags, lengths), strict=True)
        ]
        ours = metric._compute(predictions, references)
        assert ours["overall_accuracy"] == pytest.approx(seqeval_metrics.accuracy_score(references, predictions))
        if not any(get_spans(references)) and not any(get_spans(predictions)):
            # seqeval's report fails if there are no types
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = seqeval_metrics.classification_report(references, predictions, output_dict=True)
        assert set(report) - {"micro avg", "macro avg", "weighted avg"} == {k for k in ours if "overall" not in k}
        pairs = [(report[span_type], scores) for span_type, scores in ours.items() if isinstance(scores, dict)]
        pairs.append((report["micro avg"], {key: ours[f"overall_{key}"] for key in ("precision", "recall", "f1")}))
        for expected, scores in pairs:
            for key, name in (
                ("precision", "precision"),
                ("recall", "recall"),
                ("f1", "f1-score"),
                ("number", "support"),
            ):
                if key in scores:
                    assert math.isclose(scores[key], expected[name], abs_tol=1e-12), (key, references, predictions)
