"""sdpa_sliding_window, sdpa by blocks of queries and the keys in their windows, equals sdpa for every length."""

import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tests.grid import assert_same, assert_same_logits_and_gradients, ids, logits_of, make, make_with_attentions
from tests.modeling.test_properties import add_padding

WINDOW = 5
MIXED = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
VARIANTS = {
    "rotary": {},
    "learned": {"position_type": "learned"},
    "grouped": {"num_key_value_heads": 2, "qk_norm": "head"},
    "mixed": MIXED,
    "one": {"sliding_window": 1},
}


def sdpa_and_sliding_window(**fields):
    """The same decoder with both attention implementations."""
    return make_with_attentions("decoder", "sdpa", "sdpa_sliding_window", **{"sliding_window": WINDOW, **fields})


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("length", [1, 3, WINDOW, WINDOW + 1, 2 * WINDOW, 33])
def test_logits_and_gradients_equal_sdpa(fields, length):
    assert_same_logits_and_gradients(*sdpa_and_sliding_window(**fields), ids(2, length))


@pytest.mark.parametrize("architecture", ["encoder", "seq2seq"])
def test_bidirectional_windows_and_cross_attention_equal_sdpa(architecture):
    model, tokens = make(architecture, sliding_window=WINDOW, num_key_value_heads=2), ids(2, 33)
    wanted = logits_of(model, tokens)
    model.set_attn_implementation("sdpa_sliding_window")
    assert_same(logits_of(model, tokens), wanted, what="logits")


def test_windows_are_used_only_for_rows_longer_than_the_window(monkeypatch):
    from hf_tfm.modeling import sliding_window_attention

    lengths = []

    def spy(module, query, *rest, **context):
        lengths.append(query.shape[2])
        return kernel(module, query, *rest, **context)

    kernel = sliding_window_attention.sdpa_attention_forward
    monkeypatch.setattr(sliding_window_attention, "sdpa_attention_forward", spy)
    # remote code of a checkpoint may have registered its own copy
    sliding_window_attention.register_sliding_window_attention()
    _, model = sdpa_and_sliding_window(**MIXED)
    model(ids(1, 33), use_cache=False)
    assert lengths == [WINDOW, 33, WINDOW]
    lengths.clear()
    model(ids(1, WINDOW), use_cache=False)
    assert lengths == [WINDOW] * 3


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_rows_equal_sdpa(side):
    tokens, mask = add_padding(ids(2, 13), side, 4)
    plain, windowed = sdpa_and_sliding_window()
    real = mask.bool()
    wanted = logits_of(plain, tokens, attention_mask=mask)[real]
    assert_same(logits_of(windowed, tokens, attention_mask=mask)[real], wanted, what="real tokens")


def test_packed_documents_equal_separate_ones():
    tokens = ids(1, 21)
    positions = torch.cat((torch.arange(12), torch.arange(9)))[None]
    _, windowed = sdpa_and_sliding_window()
    packed = windowed(tokens, position_ids=positions, use_cache=False).logits
    separate = [windowed(part, use_cache=False).logits for part in tokens.split((12, 9), dim=1)]
    assert_same(packed, torch.cat(separate, dim=1), what="packed documents")


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_generated_text_equals_sdpa(cache):
    texts = []
    for model in sdpa_and_sliding_window(**MIXED):
        model.generation_config.eos_token_id = None
        settings = {"max_new_tokens": 9, "do_sample": False, "cache_implementation": cache, "disable_compile": True}
        texts.append(model.generate(ids(2, 17), **settings))
    assert torch.equal(*texts)


@pytest.mark.parametrize("fields", [{}, MIXED, {"sliding_window": None}], ids=["windows", "mixed", "full"])
def test_compiled_model_equals_sdpa_and_makes_no_mask(fields, monkeypatch):
    plain, model = sdpa_and_sliding_window(**fields)
    masks = []

    def spy(module, query, key, value, attention_mask, **context):
        masks.append(attention_mask)
        return kernel(module, query, key, value, attention_mask, **context)

    # torch 2.11 returns True for every graph that is compiled
    monkeypatch.setattr("transformers.masking_utils.is_torchdynamo_exporting", lambda: True)
    kernel = ALL_ATTENTION_FUNCTIONS["sdpa_sliding_window"]
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._local_mapping, "sdpa_sliding_window", spy)
    tokens = ids(2, 33)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    assert_same(compiled(tokens, use_cache=False).logits, plain(tokens, use_cache=False).logits, what="compiled logits")
    assert masks == [None] * 3


@pytest.mark.parametrize("fields", [{"position_type": "alibi"}, {"attention_sinks": True}], ids=str)
def test_unsupported_features_are_refused(fields):
    model = make("decoder", sliding_window=WINDOW, **fields)
    with pytest.raises(ValueError, match="sdpa_sliding_window"):
        model.set_attn_implementation("sdpa_sliding_window")
