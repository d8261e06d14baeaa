"""Keys and values of a prefix, given to an encoder as `past_key_values`, stand for the tokens that they come from."""

import pytest
import torch
from transformers import DynamicCache

from hf_tfm.modeling.configuration_tfm import TfmEncoderConfig
from hf_tfm.modeling.modeling_tfm_encoder import TfmEncoderForTokenClassification, TfmEncoderModel
from hf_tfm.modeling.position import POSITIONS

PREFIX, TOKENS = 3, 6
SIZES = {
    "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "max_position_embeddings": 32, "initializer_range": 0.5,
}  # fmt: skip


def prefix_of(model, tokens, **kwargs):
    """The cache with the keys and values of the first tokens, which in the only layer depend on nothing else."""
    cache = DynamicCache()
    with torch.no_grad():
        model(tokens, past_key_values=cache, **kwargs)
    layer = cache.layers[0]
    return DynamicCache([(layer.keys[:, :, :PREFIX], layer.values[:, :, :PREFIX])])


@pytest.mark.parametrize("backend", ["eager", "sdpa"])
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("position_type", POSITIONS)
def test_tokens_after_a_prefix_are_as_in_the_whole_row(position_type, window, backend):
    torch.manual_seed(0)
    config = TfmEncoderConfig(**SIZES, position_type=position_type, sliding_window=window, attn_implementation=backend)
    model = TfmEncoderModel(config).eval()
    tokens = torch.randint(2, 50, (2, PREFIX + TOKENS))
    mask = torch.ones_like(tokens)
    mask[0, -2:] = 0
    with torch.no_grad():
        for given in (None, mask):
            whole = model(tokens, attention_mask=given).last_hidden_state[:, PREFIX:]
            prefix = prefix_of(model, tokens)
            found = model(tokens[:, PREFIX:], attention_mask=given, past_key_values=prefix).last_hidden_state
            real = torch.ones(2, TOKENS, dtype=torch.bool) if given is None else given[:, PREFIX:].bool()
            torch.testing.assert_close(found[real], whole[real])


def test_heads_read_the_prefix():
    torch.manual_seed(0)
    model = TfmEncoderForTokenClassification(TfmEncoderConfig(**SIZES, num_labels=3)).eval()
    tokens = torch.randint(2, 50, (2, PREFIX + TOKENS))
    with torch.no_grad():
        whole = model(tokens).logits[:, PREFIX:]
        found = model(tokens[:, PREFIX:], past_key_values=prefix_of(model.model, tokens)).logits
    torch.testing.assert_close(found, whole)
    assert model.num_labels == 3


def test_packed_documents_take_no_prefix():
    model = TfmEncoderModel(TfmEncoderConfig(**SIZES, padding_free=False))
    tokens, positions = torch.randint(2, 50, (1, 6)), torch.tensor([[0, 1, 2, 0, 1, 2]])
    with pytest.raises(ValueError, match="give each document a row of its own"):
        model(tokens, position_ids=positions, past_key_values=DynamicCache())
