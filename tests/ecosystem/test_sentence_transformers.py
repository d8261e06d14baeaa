"""sentence-transformers: the vectors of a checkpoint, and of what it saves, are those of the native twin."""

from functools import partial
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sentence_transformers")

row = partial(pytest.mark.compatibility, tool="sentence-transformers")


def assert_vectors_of_native(outcomes: Any, class_name: str) -> None:
    expected = outcomes["native"]["vectors"]
    for found in outcomes.ours().values():
        np.testing.assert_allclose(found["vectors"], expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found["again"], found["vectors"], rtol=0, atol=1e-6)
        assert found["class"] == class_name


@row(what="SentenceTransformer on an encoder")
def test_encoder(outcomes):
    assert_vectors_of_native(outcomes, "TfmEncoderModel")


@row(what="SentenceTransformer on a decoder")
def test_decoder(outcomes):
    assert_vectors_of_native(outcomes, "TfmDecoderModel")


@row(what="SentenceTransformer on the encoder of an encoder-decoder")
def test_encoder_of_encoder_decoder(outcomes):
    assert_vectors_of_native(outcomes, "TfmSeq2SeqEncoderModel")
