"""The rules of vLLM's and SGLang's Transformers backends, checked as these engines call a model; they are not run."""

from functools import partial
from typing import Any

import pytest

row = partial(pytest.mark.compatibility, tool="transformers")
RULES = ("scaling", "compatible", "by_name", "auto_map", "tp_plan")


def assert_rules(outcomes: Any, is_causal: bool, difference: float = 1e-5) -> None:
    for mode, found in outcomes.ours().items():
        # one call of attention by each layer, with the engine's own keyword
        assert (found["calls"], found["is_causal"]) == ([1, 1], [is_causal, is_causal]), mode
        assert [rule for rule in RULES if not found[rule]] == [], mode
        assert found["module_lists"] == 1, mode
        assert found["difference"] <= difference, mode


@row(what="rules of vLLM's and SGLang's Transformers backends: a decoder, documents in one row")
def test_decoder(outcomes):
    assert_rules(outcomes, is_causal=True)


@row(what="rules of vLLM's Transformers backend: experts")
def test_experts(outcomes):
    assert_rules(outcomes, is_causal=True)
    assert all(found["experts"] for found in outcomes.ours().values())


@row(what="rules of vLLM's Transformers backend: an encoder")
def test_encoder(outcomes):
    assert_rules(outcomes, is_causal=False)


@row(what="vLLM's and SGLang's Transformers backends with a score bias: refused, they would drop it")
def test_score_bias(outcomes):
    for mode, error in outcomes.ours().items():
        assert "alibi" in error, mode
        outcomes.statuses[mode] = "refused"
