"""Attention by blocks of queries equals the eager one, whatever the row and whatever the scores carry."""

import pytest
import torch

from hf_tfm.modeling import blockwise_attention
from tests.grid import assert_same, assert_same_steps, by_kernels, ids, logits_of
from tests.modeling.test_properties import padded

WORDS = {
    "rotary": {},
    "grouped": {"num_key_value_heads": 2, "qk_norm": "head"},
    "alibi": {"position_type": "alibi"},
    "relative bias": {"position_type": "relative_bias"},
    "capped scores": {"attn_logit_softcapping": 2.0},
    "sinks": {"attention_sinks": True},
    "some layers slide": {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 5},
}


def both(architecture="decoder", **words):
    """The same model, eager and by blocks."""
    return by_kernels(architecture, "eager", "eager_blockwise", num_hidden_layers=2, **words)


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
@pytest.mark.parametrize("length", [1, 3, 4, 5, 33])
def test_logits_and_gradients(words, length):
    assert_same_steps(*both(**words), ids(2, length))


@pytest.mark.parametrize("architecture", ["encoder", "seq2seq"])
def test_encoders_and_memories(architecture):
    plain, blocked = both(architecture)
    assert_same(logits_of(blocked, ids(2, 33)), logits_of(plain, ids(2, 33)), what="logits")


def test_blocks_are_used_for_whole_causal_rows_and_nowhere_else(monkeypatch):
    seen = []

    def spy(module, query, key, *rest, **context):
        seen.append((query.shape[2], key.shape[2]))
        return kernel(module, query, key, *rest, **context)

    kernel = blockwise_attention.eager_attention_forward
    monkeypatch.setattr(blockwise_attention, "eager_attention_forward", spy)
    # code that came with a checkpoint registers its own copy
    blockwise_attention.register_blockwise_attention()
    _, model = both()
    cache = model(ids(1, 33)).past_key_values
    assert seen == [(8, 8), (8, 16), (8, 24), (9, 33)] * 2
    seen.clear()
    model(ids(1, 1), past_key_values=cache)
    assert seen == [(1, 34)] * 2


def test_a_ready_mask_is_taken_as_it_is():
    # the first tokens see each other: keys behind a block of queries count
    prefix = torch.full((33, 33), torch.finfo(torch.float).min).triu(1)
    prefix[:20, :20] = 0
    plain, blocked = both()
    wanted = logits_of(plain, ids(1, 33), attention_mask=prefix[None, None])
    assert_same(logits_of(blocked, ids(1, 33), attention_mask=prefix[None, None]), wanted, what="logits")
    assert not torch.allclose(wanted, logits_of(plain, ids(1, 33)))


@pytest.mark.parametrize("padding_free", [True, False])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_rows(side, padding_free):
    tokens, mask = padded(ids(2, 13), side, 4)
    plain, blocked = both(padding_free=padding_free)
    real = mask.bool()
    wanted = logits_of(plain, tokens, attention_mask=mask)[real]
    assert_same(logits_of(blocked, tokens, attention_mask=mask)[real], wanted, what="real tokens")


def test_packed_rows():
    tokens = ids(1, 21)
    positions = torch.cat((torch.arange(12), torch.arange(9)))[None]
    for padding_free in (True, False):
        _, blocked = both(padding_free=padding_free)
        packed = blocked(tokens, position_ids=positions, use_cache=False).logits
        apart = [blocked(part, use_cache=False).logits for part in tokens.split((12, 9), dim=1)]
        assert_same(packed, torch.cat(apart, dim=1), what="packed documents")


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_generated_text(cache):
    texts = []
    for model in both():
        model.generation_config.eos_token_id = None
        settings = {"max_new_tokens": 9, "do_sample": False, "cache_implementation": cache, "disable_compile": True}
        texts.append(model.generate(ids(2, 17), **settings))
    assert torch.equal(*texts)


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled(dynamic):
    plain, blocked = both()
    compiled = torch.compile(blocked, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    for length in (33, 18):
        wanted = plain(ids(2, length), use_cache=False).logits
        assert_same(compiled(ids(2, length), use_cache=False).logits, wanted, what="compiled logits")


def test_weights_are_refused_where_they_are_not_kept():
    _, blocked = both()
    with pytest.raises(ValueError, match="eager_blockwise"):
        blocked.config.output_attentions = True
