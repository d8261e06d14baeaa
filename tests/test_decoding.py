"""Another order of weights in memory changes no number and no file."""

import copy

import pytest
import torch

from hf_tfm.decoding import store_columns
from tests.grid import assert_same, ids, make


@pytest.mark.parametrize("words", [{}, {"tie_word_embeddings": False, "qkv_bias": True}])
def test_the_same_numbers_text_and_file(words, tmp_path):
    model = make("decoder", **words)
    before = copy.deepcopy(model)
    assert store_columns(model) is model
    up, down = model.model.layers[0].mlp.up_proj.weight, model.model.layers[0].mlp.down_proj.weight
    assert up.stride() == (1, up.shape[0]), "columns lie together"
    assert down.is_contiguous(), "narrow maps stay as they were"
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == (not words), "ties hold"
    with torch.no_grad():
        assert_same(model(ids(2, 7)).logits, before(ids(2, 7)).logits, 1e-6, "logits")
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    for name, parameter in before.named_parameters():
        assert torch.equal(again.get_parameter(name), parameter), name
        assert again.get_parameter(name).is_contiguous()


def test_other_weights_are_refused():
    with pytest.raises(ValueError, match=r"float32 weights on a CPU, not torch\.bfloat16 on cpu"):
        store_columns(make("decoder").to(torch.bfloat16))
