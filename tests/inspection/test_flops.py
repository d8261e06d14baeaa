"""Matrices of models, counted against the formulas of their sizes."""

import pytest

import hf_tfm
from hf_tfm.benchmark.harness.peer_models import ModelSizes, native_model
from hf_tfm.inspection.flops import attention_flops, count_matmul_parameters, weight_bytes

TINY = ModelSizes(hidden_size=32, layers=2, heads=4, vocab_size=100, length=16)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_matrices_count_with_the_head_and_without_embeddings(family):
    model = native_model(family, "causal-lm", TINY)
    width, inner = 32, {"llama": 3 * TINY.gated_intermediate_size, "gpt2": 2 * 4 * 32}[family]
    layers = 2 * (4 * width**2 + width * inner)
    assert count_matmul_parameters(model) == (layers, 0, 100 * width)
    assert count_matmul_parameters(model).forward_flops(7, 0, 2) == 2 * (7 * layers + 2 * 100 * width)
    assert weight_bytes(model) == 4 * (layers + 100 * width)
    assert attention_flops(model.config, [3, 4]) == 4 * width * 2 * (9 + 16)


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_matrices_of_an_encoder_decoder_belong_to_source_or_target(family):
    model = native_model(family, "seq2seq-lm", TINY)
    stack = 2 * 12 * 32**2
    # keys and values of cross-attention are computed for the source, queries and outputs for the target
    assert count_matmul_parameters(model) == (stack + 2 * 2 * 32**2, stack + 2 * 2 * 32**2, 100 * 32)
    assert attention_flops(model.config, [2], [3]) == 4 * 32 * 2 * (4 + 9 + 6)


def test_heads_wider_than_the_model_count_whole():
    config = hf_tfm.TfmDecoderConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, head_dim=16)
    assert attention_flops(config, [3]) == 4 * (4 * 16) * 2 * 9
