"""Our models and their peers: same weights, names, and outputs that must be equal before speeds are compared."""

import pytest
import torch

from hf_tfm.benchmark.harness.interleaved_timing import ModelPair
from hf_tfm.benchmark.harness.model_pairs import check_equal_outputs, compared_models
from hf_tfm.benchmark.harness.peer_models import ModelSizes, native_model

TINY = ModelSizes(hidden_size=32, layers=2, heads=4, vocab_size=100, length=16)
PAIR = ModelPair("ours", "peer")


def test_different_outputs_are_refused():
    ours, other = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.1])
    assert check_equal_outputs({"ours": ours, "peer": ours}, [PAIR]) == {"peer": 0}
    assert check_equal_outputs({"ours": ours, "peer": other}, [ModelPair("ours", "peer", same_weights=False)]) == {}
    with pytest.raises(ValueError, match="outputs differ"):
        check_equal_outputs({"ours": ours, "peer": other}, [PAIR])


def test_casting_changes_weights_and_no_buffers():
    compared = compared_models("causal-lm", ["llama"], TINY, None, True, {})
    compared.cast_weights("bf16")
    assert all(weight.dtype == torch.float32 for model in compared.models.values() for weight in model.parameters())
    compared.cast_weights("bf16-weights")
    for model in compared.models.values():
        assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
        assert {values.dtype for name, values in model.named_buffers() if "inv_freq" in name} == {torch.float32}
        assert model.lm_head.weight is model.get_input_embeddings().weight


@pytest.mark.parametrize("saved", ["llama", "ours"])
def test_checkpoint_is_compared_with_the_same_weights(saved, tmp_path):
    first = compared_models("causal-lm", ["llama"], TINY, None, True, {})
    first.models[saved].save_pretrained(tmp_path)
    compared = compared_models("causal-lm", [str(tmp_path)], TINY, None, True, {"fused_loss": True})
    ours, peer = compared.models["ours"], compared.models[str(tmp_path)]
    assert ours.config.model_type == "tfm_decoder"
    assert ours.config.fused_loss
    assert peer.config.model_type == "llama"
    embeddings = first.models["llama"].get_input_embeddings().weight
    for model in (ours, peer):
        assert model.get_input_embeddings().weight.equal(embeddings)


def test_peers_that_cannot_be_converted_are_compared_with_our_first_model(monkeypatch):
    module = "hf_tfm.benchmark.harness.model_pairs"
    monkeypatch.setattr(f"{module}.x_transformers_model", lambda head, sizes, seed: native_model("llama", head, sizes))
    monkeypatch.setattr(f"{module}.is_convertible", lambda peer: peer.config.model_type == "gpt2")
    compared = compared_models("causal-lm", ["gpt2", "x-transformers"], TINY, None, True, {})
    assert compared.pairs == [
        ModelPair("ours from gpt2", "gpt2", True), ModelPair("ours from gpt2", "x-transformers", False),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="put a native family before it"):
        compared_models("causal-lm", ["x-transformers"], TINY, None, True, {})
