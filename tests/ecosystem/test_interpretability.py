"""Attribution, traces and attention maps by other tools."""

from functools import partial
from typing import Any

import pytest

row = partial(pytest.mark.compatibility)


def flat(values: Any) -> list[float]:
    return [number for value in values for number in flat(value)] if isinstance(values, list) else [values]


def assert_as_native(found: Any, wanted: Any) -> None:
    assert flat(found) == pytest.approx(flat(wanted), rel=1e-4, abs=1e-4)


@pytest.mark.ecosystem
@row(tool="captum", what="LayerIntegratedGradients of a decoder, padded batch")
def test_captum(outcomes):
    for found in outcomes.ours().values():
        assert_as_native(found["tokens"], outcomes["native"]["tokens"])
        assert_as_native(found["errors"], outcomes["native"]["errors"])


@pytest.mark.ecosystem
@row(tool="captum", what="FeatureAblation of a classifier, padded batch")
def test_captum_classifier(outcomes):
    for found in outcomes.ours().values():
        assert_as_native(found, outcomes["native"])


@pytest.mark.ecosystem
@row(tool="nnsight", what="trace: hidden states read and set")
def test_nnsight(outcomes):
    pytest.importorskip("nnsight")
    for found in outcomes.ours().values():
        assert_as_native(found["states"], outcomes["native"]["states"])
        assert_as_native(found["logits"], outcomes["native"]["logits"])


@pytest.mark.ecosystem
@row(tool="bertviz", what="head_view of output_attentions=True, padded batch, encoder and decoder")
def test_bertviz(outcomes):
    pytest.importorskip("bertviz")
    for found in outcomes.ours().values():
        for name, wanted in outcomes["native"].items():
            assert found[name]["shape"] == wanted["shape"] == [2, 4, 7, 7]
            assert_as_native(found[name]["maps"], wanted["maps"])


@pytest.mark.ecosystem
@row(tool="transformer-lens", what="TransformerBridge: run_with_cache")
def test_transformer_lens(outcomes):
    pytest.importorskip("transformer_lens")
    for mode in ("package", "native"):
        assert outcomes[mode]["difference"] < 1e-4
        assert outcomes[mode]["pattern"] == [1, 4, 7, 7]
    for mode, found in outcomes.ours().items():
        assert "TfmDecoderForCausalLM" in found["refused"], mode
        outcomes.statuses[mode] = "refused: unknown architecture; works after hf-tfm convert --to native"
