"""The summary of a run says where a simple method is better, and what usually helps."""

from types import SimpleNamespace

import pytest

from hf_tfm.training.objectives import Objective
from hf_tfm.training.report.run_report import RunReport


@pytest.mark.parametrize(
    ("metric", "result", "baselines", "better"),
    [
        ("accuracy", 0.6, {"a": 0.5, "b": 0.7, "c": 0.65}, "b"),
        ("accuracy", 0.7, {"a": 0.5, "b": 0.7}, None),
        ("nats_per_token", 3.0, {"a": 2.0, "b": 4.0}, "a"),
        ("bits_per_byte", 1.6, {"a": 1.8}, None),
        ("f1", 1.6, {}, None),
    ],
)
@pytest.mark.parametrize("init_from", [None, "checkpoint"])
def test_a_better_simple_method_is_named_with_what_helps(metric, result, baselines, better, init_from):
    report = SimpleNamespace(
        baseline_metric=metric, objective=Objective, results={f"test_{metric}": result},
        data=SimpleNamespace(baselines=baselines), run_args=SimpleNamespace(model=SimpleNamespace(init_from=init_from)),
    )  # fmt: skip
    note = RunReport.baseline_note(report)
    if better is None:
        assert note == ""
        return
    assert f"better than this model here: {better}. What usually helps" in note
    assert "--init_from" in note
    assert ("larger pretrained" in note) is (init_from is not None)
