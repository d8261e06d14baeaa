"""Metrics by name: the package's own open no socket; "hub:NAME" loads one from the Hub."""

import math
import socket
import sys

import evaluate
import pytest

from hf_tfm.training.metrics.metric_registry import METRICS, load_metric

TRANSLATION = ("chrf", "sacrebleu")
QUESTION = {
    "predictions": [{"id": "1", "prediction_text": "x"}],
    "references": [{"id": "1", "answers": {"text": ["x"]}}],
}
TEXTS = {"predictions": ["a cat sat on it"], "references": ["a cat sat on it"]}
# name -> rows that are all correct, and the key and value of the result
PERFECT = {
    "accuracy": ({"predictions": [1, 0], "references": [1, 0]}, "accuracy", 1),
    "chrf": (TEXTS, "score", 100),
    "exact_match": (TEXTS, "exact_match", 1),
    "f1": ({"predictions": [1, 0], "references": [1, 0]}, "f1", 1),
    "matthews_correlation": ({"predictions": [1, 0], "references": [1, 0]}, "matthews_correlation", 1),
    "pearsonr": ({"predictions": [1.5, 0], "references": [3, 0]}, "pearsonr", 1),
    "precision": ({"predictions": [1, 0], "references": [1, 0]}, "precision", 1),
    "recall": ({"predictions": [1, 0], "references": [1, 0]}, "recall", 1),
    "sacrebleu": (TEXTS, "score", 100),
    "seqeval": ({"predictions": [["B-X"]], "references": [["B-X"]]}, "overall_f1", 1),
    "spearmanr": ({"predictions": [1.5, 0], "references": [3, 0]}, "spearmanr", 1),
    "squad": (QUESTION, "f1", 100),
    "squad_v2": (QUESTION, "f1", 100),
}


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_works_without_a_socket_and_writes_only_to_its_folder(name, tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a socket was opened")

    if name in TRANSLATION:
        pytest.importorskip("sacrebleu")
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setenv("HOME", "/nonexistent")
    rows, key, value = PERFECT[name]
    metric = load_metric(name, tmp_path / "scratch")
    assert metric.compute(**rows)[key] == pytest.approx(value)
    assert metric.name == name
    assert [path.name for path in tmp_path.iterdir()] == ["scratch"]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_refuses_an_empty_split(name, tmp_path):
    if name in TRANSLATION:
        pytest.importorskip("sacrebleu")
    with pytest.raises(ValueError, match=f"{name} got no rows"):
        load_metric(name, tmp_path).compute(predictions=[], references=[])


def test_an_unknown_name_lists_the_known_ones_and_the_hub_prefix(tmp_path):
    with pytest.raises(ValueError, match=r'Unknown metric "rouge"; the package has accuracy, .*"hub:rouge" would'):
        load_metric("rouge", tmp_path)


def test_only_the_hub_prefix_loads_from_the_hub(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(evaluate, "load", lambda *args, **options: calls.append((args, options)))
    load_metric("accuracy", tmp_path)
    assert not calls
    load_metric("hub:accuracy", tmp_path)
    assert calls == [(("accuracy",), {"keep_in_memory": True, "cache_dir": str(tmp_path)})]


@pytest.mark.parametrize("name", TRANSLATION)
def test_without_sacrebleu_one_line_says_what_to_install(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ImportError, match=rf'^{name} needs sacrebleu: pip install "hf_tfm\[train\]"$'):
        load_metric(name, tmp_path)


def test_bleu_by_hand(tmp_path):
    pytest.importorskip("sacrebleu")
    # 5 words, a reference of 6: 5 of 5 words match, 3 of 4 bigrams, 1 of 3 trigrams and, smoothed, half of 1 in 2
    results = load_metric("sacrebleu", tmp_path).compute(
        predictions=["the cat sat on mat"], references=["the cat is sat on mat"]
    )
    assert results["counts"] == [5, 3, 1, 0]
    assert results["totals"] == [5, 4, 3, 2]
    assert (results["sys_len"], results["ref_len"]) == (5, 6)
    assert results["bp"] == pytest.approx(math.exp(1 - 6 / 5))
    assert results["precisions"] == pytest.approx([100, 75, 100 / 3, 25])
    assert results["score"] == pytest.approx(100 * results["bp"] * (1 * 0.75 / 3 * 0.25) ** 0.25)
    assert results["signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert list(results) == "score counts totals precisions bp sys_len ref_len signature".split()


def test_chrf_by_hand(tmp_path):
    pytest.importorskip("sacrebleu")
    # "abc" and "abd" share 2 of 3 letters, 1 of 2 bigrams, 0 of 1 trigram; precision equals recall
    results = load_metric("chrf", tmp_path).compute(predictions=["abc"], references=["abd"])
    assert results["score"] == pytest.approx(100 * (2 / 3 + 1 / 2) / 3)
    assert (results["char_order"], results["word_order"], results["beta"]) == (6, 0, 2)
    assert results["signature"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")


@pytest.mark.parametrize("name", TRANSLATION)
def test_references_may_be_one_or_several_per_row(name, tmp_path):
    sacrebleu = pytest.importorskip("sacrebleu")
    metric = load_metric(name, tmp_path)
    predictions = ["a small cat sat there today", "dogs run far away from here"]
    one, two = ["a cat sat there today", "dogs run far away"], ["the small cat sat there", "dogs run from here"]
    corpus_score = sacrebleu.corpus_chrf if name == "chrf" else sacrebleu.corpus_bleu

    def score(references) -> float:
        return metric.compute(predictions=predictions, references=references)["score"]

    assert score(one) == score([[text] for text in one]) == pytest.approx(corpus_score(predictions, [one]).score)
    both = [list(pair) for pair in zip(one, two, strict=True)]
    assert score(both) == pytest.approx(corpus_score(predictions, [one, two]).score)
    uneven = metric.compute(predictions=predictions, references=[both[0], one[1]])
    assert uneven["score"] == pytest.approx(corpus_score(predictions, [one, [two[0], None]]).score)
    assert uneven["signature"].startswith("nrefs:var|")
    with pytest.raises(ValueError, match="row 1 has no reference"):
        score([["x"], []])
    with pytest.raises(ValueError, match="references of row 0 must be strings; row 0 is int"):
        score([[1], ["x"]])
