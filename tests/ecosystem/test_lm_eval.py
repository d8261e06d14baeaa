"""lm-evaluation-harness on tasks of YAML and JSONL files, by its functions, its command and `hf-tfm evaluate`."""

from functools import partial
from typing import Any

import pytest

pytest.importorskip("lm_eval")

row = partial(pytest.mark.compatibility, tool="lm_eval")
CLOSE = {"rel": 1e-4, "abs": 1e-4}


def flat(responses: Any) -> Any:
    """Numbers and texts of nested lists, in order."""
    if isinstance(responses, list):
        return [leaf for response in responses for leaf in flat(response)]
    return [responses]


def assert_equal(found: Any, wanted: Any, task: str) -> None:
    assert flat(found["responses"][task]) == pytest.approx(flat(wanted["responses"][task]), **CLOSE)


def assert_as_native(outcomes: Any) -> None:
    for sizes in outcomes.ours().values():
        for size, wanted in outcomes["native"].items():
            assert sizes[size]["metrics"] == pytest.approx(wanted["metrics"], **CLOSE)
            for task in wanted["responses"]:
                assert_equal(sizes[size], wanted, task)


@pytest.mark.ecosystem
@row(what="multiple_choice, generate_until and loglikelihood_rolling: batch sizes agree")
def test_batch_sizes(outcomes):
    assert_as_native(outcomes)
    for sizes in outcomes.ours().values():
        for task in sizes["1"]["responses"]:
            assert_equal(sizes["3"], sizes["1"], task)


@pytest.mark.ecosystem
@row(what="an encoder-decoder, backend=seq2seq")
def test_encoder_decoder(outcomes):
    assert_as_native(outcomes)
    # the harness lets a text grow with the longest source of its batch, so only choices are compared
    for sizes in outcomes.ours().values():
        assert_equal(sizes["3"], sizes["1"], "tiny_choice")


@row(what="hf-tfm evaluate, and lm_eval with trust_remote_code: the same table")
def test_command(outcomes):
    wanted = outcomes["native"]
    assert len(wanted["table"]) > 4
    for mode, found in outcomes.ours().items():
        assert found["table"] == wanted["table"], mode
        assert found["written"] == [pytest.approx(values, **CLOSE) for values in wanted["written"]]
