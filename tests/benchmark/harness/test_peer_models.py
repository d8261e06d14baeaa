"""Models of x-transformers."""

import pytest
import torch

from hf_tfm.benchmark.harness import peer_models
from hf_tfm.benchmark.harness.peer_models import ModelSizes, PeerNotInstalledError, native_model
from hf_tfm.inspection.flops import count_matmul_parameters

SIZES = ModelSizes(hidden_size=64, layers=2, heads=2, vocab_size=100, length=16)


def test_missing_peer_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(peer_models.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PeerNotInstalledError, match="pip install"):
        peer_models.x_transformers_model("causal-lm", SIZES)


def test_x_transformers_has_the_shape_of_llama():
    pytest.importorskip("x_transformers")
    model = peer_models.x_transformers_model("causal-lm", SIZES)
    llama = native_model("llama", "causal-lm", SIZES)
    assert count_matmul_parameters(model) == count_matmul_parameters(llama)
    ids = torch.randint(100, (2, 16))
    assert model(ids, labels=ids)["loss"].isfinite()
