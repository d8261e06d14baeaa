"""eager_blockwise, eager attention by blocks of queries, equals eager attention for every length and score feature."""

import pytest
import torch

from hf_tfm.modeling import blockwise_attention
from tests.grid import assert_same, assert_same_logits_and_gradients, ids, logits_of, make_with_attentions
from tests.modeling.test_properties import add_padding

VARIANTS = {
    "rotary": {},
    "grouped": {"num_key_value_heads": 2, "qk_norm": "head"},
    "alibi": {"position_type": "alibi"},
    "relative bias": {"position_type": "relative_bias"},
    "capped scores": {"attn_logit_softcapping": 2.0},
    "sinks": {"attention_sinks": True},
    "some layers slide": {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 5},
}


def eager_and_blockwise(architecture="decoder", **fields):
    """The same model with both attention implementations."""
    return make_with_attentions(architecture, "eager", "eager_blockwise", num_hidden_layers=2, **fields)


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("length", [1, 3, 4, 5, 33])
def test_logits_and_gradients_equal_eager(fields, length):
    assert_same_logits_and_gradients(*eager_and_blockwise(**fields), ids(2, length))


@pytest.mark.parametrize("architecture", ["encoder", "seq2seq"])
def test_encoders_and_cross_attention_equal_eager(architecture):
    plain, blockwise = eager_and_blockwise(architecture)
    assert_same(logits_of(blockwise, ids(2, 33)), logits_of(plain, ids(2, 33)), what="logits")


def test_blocks_are_used_for_unpadded_causal_rows_only(monkeypatch):
    shapes = []

    def spy(module, query, key, *rest, **context):
        shapes.append((query.shape[2], key.shape[2]))
        return kernel(module, query, key, *rest, **context)

    kernel = blockwise_attention.eager_attention_forward
    monkeypatch.setattr(blockwise_attention, "eager_attention_forward", spy)
    # remote code of a checkpoint may have registered its own copy
    blockwise_attention.register_blockwise_attention()
    _, model = eager_and_blockwise()
    cache = model(ids(1, 33)).past_key_values
    assert shapes == [(8, 8), (8, 16), (8, 24), (9, 33)] * 2
    shapes.clear()
    model(ids(1, 1), past_key_values=cache)
    assert shapes == [(1, 34)] * 2


def test_4d_mask_is_applied_as_given():
    # prefix-LM: the first 20 tokens attend to each other, also to keys after their own block of queries
    prefix = torch.full((33, 33), torch.finfo(torch.float).min).triu(1)
    prefix[:20, :20] = 0
    plain, blockwise = eager_and_blockwise()
    wanted = logits_of(plain, ids(1, 33), attention_mask=prefix[None, None])
    assert_same(logits_of(blockwise, ids(1, 33), attention_mask=prefix[None, None]), wanted, what="logits")
    assert not torch.allclose(wanted, logits_of(plain, ids(1, 33)))


@pytest.mark.parametrize("padding_free", [True, False])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_rows_equal_eager(side, padding_free):
    tokens, mask = add_padding(ids(2, 13), side, 4)
    plain, blockwise = eager_and_blockwise(padding_free=padding_free)
    real = mask.bool()
    wanted = logits_of(plain, tokens, attention_mask=mask)[real]
    assert_same(logits_of(blockwise, tokens, attention_mask=mask)[real], wanted, what="real tokens")


def test_packed_documents_equal_separate_ones():
    tokens = ids(1, 21)
    positions = torch.cat((torch.arange(12), torch.arange(9)))[None]
    for padding_free in (True, False):
        _, blockwise = eager_and_blockwise(padding_free=padding_free)
        packed = blockwise(tokens, position_ids=positions, use_cache=False).logits
        separate = [blockwise(part, use_cache=False).logits for part in tokens.split((12, 9), dim=1)]
        assert_same(packed, torch.cat(separate, dim=1), what="packed documents")


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_generated_text_equals_eager(cache):
    texts = []
    for model in eager_and_blockwise():
        model.generation_config.eos_token_id = None
        settings = {"max_new_tokens": 9, "do_sample": False, "cache_implementation": cache, "disable_compile": True}
        texts.append(model.generate(ids(2, 17), **settings))
    assert torch.equal(*texts)


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_model_equals_eager(dynamic):
    plain, blockwise = eager_and_blockwise()
    compiled = torch.compile(blockwise, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    for length in (33, 18):
        wanted = plain(ids(2, length), use_cache=False).logits
        assert_same(compiled(ids(2, length), use_cache=False).logits, wanted, what="compiled logits")


def test_output_attentions_is_refused():
    _, blockwise = eager_and_blockwise()
    with pytest.raises(ValueError, match="eager_blockwise"):
        blockwise.config.output_attentions = True
