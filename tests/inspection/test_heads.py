"""Scores of heads, by hand-built attention and by loops."""

import hashlib
import math

import numpy as np
import pytest
import torch

from hf_tfm.inspection.head_scores import head_summary, score_heads
from hf_tfm.inspection.recording import record
from tests.grid import LANGUAGE_MODELS, ids, make
from tests.inspection.tiny import make_recording

T = 8
CAUSAL = np.tril(np.ones((T, T), bool))
REPEATED = [5, 6, 7, 8, 5, 6, 7, 8]


def one_hot(keys: list[int]) -> np.ndarray:
    """A head whose queries each look at one key."""
    return np.eye(T, dtype=np.float32)[keys]


HAND_BUILT = {
    "previous token": one_hot([0, *range(T - 1)]),
    # the key after the same token before
    "induction": one_hot([0, 0, 0, 0, 1, 2, 3, 4]),
    "first token": one_hot([0] * T),
    "uniform": CAUSAL / CAUSAL.sum(-1, keepdims=True),
    "sink": np.zeros((T, T)),
}


def hand_built_scores():
    weights = np.stack(list(HAND_BUILT.values())).astype(np.float32)[None]
    missing = 1 - weights.sum(-1)
    scores, rows = score_heads(weights, CAUSAL[None], REPEATED, missing)
    return {name: dict(zip(HAND_BUILT, values[0], strict=True)) for name, values in scores.items()}, rows


def test_perfect_heads_score_one():
    scores, rows = hand_built_scores()
    assert scores["previous token"]["previous token"] == 1
    assert scores["induction"]["induction"] == 1
    assert scores["first token"]["first token"] == 1
    assert scores["entropy"]["uniform"] == pytest.approx(1, abs=1e-7)
    assert scores["sink"]["sink"] == 1
    assert scores["distance"]["previous token"] == (T - 1) / T
    assert scores["entropy"]["first token"] == 0
    assert scores["sink"]["uniform"] == pytest.approx(0, abs=1e-7)
    assert rows == {"distance": T, "entropy": T - 1, "previous token": T - 1, "next token": 0, "induction": 4,
                    "first token": T - 1, "sink": T}  # fmt: skip


def test_what_is_defined_nowhere_is_nan():
    scores, _ = hand_built_scores()
    assert math.isnan(scores["next token"]["uniform"])
    assert math.isnan(scores["entropy"]["sink"])
    weights = np.ones((1, 1, 1, 1))
    single, rows = score_heads(weights, np.ones((1, 1, 1), bool), [5])
    assert {name for name, values in single.items() if np.isnan(values).all()} == single.keys() - {"distance"}
    assert sum(rows.values()) == 1


def looped(weights, visible, tokens) -> dict[str, list[float]]:
    """The definitions once more, as loops over queries and keys of one head."""
    found = {name: [] for name in ("distance", "entropy", "previous token", "next token", "induction", "first token")}
    for q in range(len(weights)):
        seen = [k for k in range(len(weights[q])) if visible[q, k]]
        found["distance"].append(sum(weights[q, k] * abs(q - k) for k in seen))
        if len(seen) > 1:
            total = -sum(weights[q, k] * math.log(weights[q, k]) for k in seen)
            found["entropy"].append(total / math.log(len(seen)))
        for name, key in (("previous token", q - 1), ("next token", q + 1)):
            if key in seen:
                found[name].append(weights[q, key])
        if q > 0 and 0 in seen:
            found["first token"].append(weights[q, 0])
        after = {p + 1 for p in range(q) if tokens[p] == tokens[q]} - {q}
        if after & set(seen):
            found["induction"].append(sum(weights[q, k] for k in after & set(seen)))
    return found


@pytest.mark.parametrize("architecture", ["encoder", "decoder"])
def test_scores_equal_loops_and_leave_the_recording_alone(architecture):
    model = make(architecture, sliding_window=5, num_key_value_heads=2)
    recording = record(model, {"input_ids": ids(1, 5).repeat(1, 2)})[0]
    stack = recording.stacks["text"]
    before = hashlib.sha256(b"".join(call.weights.numpy().tobytes() for call in stack.attentions)).hexdigest()
    found = head_summary(recording)[0]
    after = hashlib.sha256(b"".join(call.weights.numpy().tobytes() for call in stack.attentions)).hexdigest()
    assert before == after
    for call in stack.attentions:
        for head, weights in enumerate(call.weights.double().numpy()):
            wanted = looped(weights, call.visible.numpy(), stack.ids.tolist())
            for name, values in wanted.items():
                assert found.rows[name] == len(values), name
                mean = np.mean(values) if values else np.nan
                np.testing.assert_allclose(found.scores[name][call.layer, head], mean, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_every_attention_has_scores_and_causal_ones_the_random_induction(architecture):
    found = head_summary(make_recording(architecture, attention_sinks=True))
    kinds = {(scores.stack, scores.attention): scores for scores in found}
    wanted = {"seq2seq": {("source", "self"), ("target", "self"), ("target", "cross")}}
    assert kinds.keys() == wanted.get(architecture, {("text", "self")})
    for (name, kind), scores in kinds.items():
        is_causal = kind == "self" and (name == "target" or architecture == "decoder")
        assert (scores.random_induction is not None) == is_causal
        assert (scores.scores["sink"] > 0).all()
        if kind == "cross":
            assert np.isnan(scores.scores["distance"]).all()


def test_random_induction_is_the_same_in_every_run():
    recordings = [make_recording("decoder"), make_recording("decoder", seed=0)]
    first, second = (head_summary(recording)[0].random_induction for recording in recordings)
    torch.rand(3)
    assert (first == second).all()
