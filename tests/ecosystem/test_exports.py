"""Exports by transformers' own exporters, run by the runtimes that they are made for."""

from functools import partial
from typing import Any

import pytest

row = partial(pytest.mark.compatibility, tool="onnxruntime")


def assert_close(outcomes: Any) -> None:
    """Within 1e-5 of the largest output, or as close as the native twin: T5's distances round their logarithms."""
    native = outcomes["native"]
    for mode, differences in outcomes.ours().items():
        assert differences.keys() == native.keys()
        for name, wanted in native.items():
            assert differences[name] <= max(1e-5, 1.1 * wanted), (mode, name)
    for mode, differences in {**outcomes.ours(), "native": native}.items():
        if max(differences.values()) > 1e-5:
            outcomes.statuses[mode] = f"works, within {max(differences.values()):.0e}"


@pytest.mark.ecosystem
@row(tool="torch", what="torch.export with dynamic shapes: encoder, decoder, encoder-decoder")
def test_torch_export(outcomes):
    assert_close(outcomes)


@pytest.mark.ecosystem
@row(what="ONNX with dynamic shapes: encoder, decoder, encoder-decoder")
def test_onnx(outcomes):
    pytest.importorskip("onnxruntime")
    assert_close(outcomes)


@pytest.mark.ecosystem
@row(what="ONNX of cached decoding with dynamic shapes: decoder")
def test_onnx_generation(outcomes):
    pytest.importorskip("onnxruntime")
    assert_close(outcomes)


@pytest.mark.ecosystem
@row(what="ONNX of cached decoding with dynamic shapes: encoder-decoder")
def test_onnx_generation_encoder_decoder(outcomes):
    pytest.importorskip("onnxruntime")
    assert_close(outcomes)


@pytest.mark.ecosystem
@row(tool="executorch", what="ExecuTorch on XNNPACK: encoder, decoder")
def test_executorch(outcomes):
    pytest.importorskip("executorch")
    assert_close(outcomes)
