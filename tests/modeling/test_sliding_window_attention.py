"""Sliding attention by bands equals the host's sdpa, whatever the row."""

import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tests.grid import assert_same, assert_same_steps, by_kernels, ids, logits_of, make
from tests.modeling.test_properties import padded

WINDOW = 5
MIXED = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
WORDS = {
    "rotary": {},
    "learned": {"position_type": "learned"},
    "grouped": {"num_key_value_heads": 2, "qk_norm": "head"},
    "mixed": MIXED,
    "one": {"sliding_window": 1},
}


def both(**words):
    """The same decoder with the host's sdpa and by bands."""
    return by_kernels("decoder", "sdpa", "sdpa_sliding_window", **{"sliding_window": WINDOW, **words})


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
@pytest.mark.parametrize("length", [1, 3, WINDOW, WINDOW + 1, 2 * WINDOW, 33])
def test_logits_and_gradients(words, length):
    assert_same_steps(*both(**words), ids(2, length))


@pytest.mark.parametrize("architecture", ["encoder", "seq2seq"])
def test_windows_on_both_sides_and_memories(architecture):
    model, tokens = make(architecture, sliding_window=WINDOW, num_key_value_heads=2), ids(2, 33)
    wanted = logits_of(model, tokens)
    model.set_attn_implementation("sdpa_sliding_window")
    assert_same(logits_of(model, tokens), wanted, what="logits")


def test_bands_are_used_for_a_long_row_and_not_for_a_short_one(monkeypatch):
    from hf_tfm.modeling import sliding_window_attention

    seen = []

    def spy(module, query, *rest, **context):
        seen.append(query.shape[2])
        return kernel(module, query, *rest, **context)

    kernel = sliding_window_attention.sdpa_attention_forward
    monkeypatch.setattr(sliding_window_attention, "sdpa_attention_forward", spy)
    # code that came with a checkpoint registers its own copy
    sliding_window_attention.register_sliding_window_attention()
    _, model = both(**MIXED)
    model(ids(1, 33), use_cache=False)
    assert seen == [WINDOW, 33, WINDOW]
    seen.clear()
    model(ids(1, WINDOW), use_cache=False)
    assert seen == [WINDOW] * 3


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_rows(side):
    tokens, mask = padded(ids(2, 13), side, 4)
    plain, banded = both()
    real = mask.bool()
    wanted = logits_of(plain, tokens, attention_mask=mask)[real]
    assert_same(logits_of(banded, tokens, attention_mask=mask)[real], wanted, what="real tokens")


def test_packed_rows():
    tokens = ids(1, 21)
    positions = torch.cat((torch.arange(12), torch.arange(9)))[None]
    _, banded = both()
    packed = banded(tokens, position_ids=positions, use_cache=False).logits
    apart = [banded(part, use_cache=False).logits for part in tokens.split((12, 9), dim=1)]
    assert_same(packed, torch.cat(apart, dim=1), what="packed documents")


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_generated_text(cache):
    texts = []
    for model in both(**MIXED):
        model.generation_config.eos_token_id = None
        settings = {"max_new_tokens": 9, "do_sample": False, "cache_implementation": cache, "disable_compile": True}
        texts.append(model.generate(ids(2, 17), **settings))
    assert torch.equal(*texts)


@pytest.mark.parametrize("words", [{}, MIXED, {"sliding_window": None}], ids=["windows", "mixed", "full"])
def test_compiled_without_a_mask(words, monkeypatch):
    plain, model = both(**words)
    masks = []

    def spy(module, query, key, value, attention_mask, **context):
        masks.append(attention_mask)
        return kernel(module, query, key, value, attention_mask, **context)

    # as under torch 2.11, whose compiler says so of every graph
    monkeypatch.setattr("transformers.masking_utils.is_torchdynamo_exporting", lambda: True)
    kernel = ALL_ATTENTION_FUNCTIONS["sdpa_sliding_window"]
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._local_mapping, "sdpa_sliding_window", spy)
    tokens = ids(2, 33)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    assert_same(compiled(tokens, use_cache=False).logits, plain(tokens, use_cache=False).logits, what="compiled logits")
    assert masks == [None] * 3


@pytest.mark.parametrize("words", [{"position_type": "alibi"}, {"attention_sinks": True}], ids=str)
def test_what_bands_would_drop_is_refused(words):
    model = make("decoder", sliding_window=WINDOW, **words)
    with pytest.raises(ValueError, match="sdpa_sliding_window"):
        model.set_attn_implementation("sdpa_sliding_window")
