"""Caches: with every one that a model takes, logits and text are those without; what would forget keys is refused.

Legend: W window, T tokens.
"""

import pytest
import torch
from transformers import DynamicCache, EncoderDecoderCache, StaticCache

from tests.grid import assert_same, ids, make

LENGTH, ROOM = 9, 12
WINDOWS = [1, 2, LENGTH, LENGTH + 1]
LAYERS = {
    "sliding": ["sliding_attention", "sliding_attention"],
    "sliding_first": ["sliding_attention", "full_attention"],
    "full_first": ["full_attention", "sliding_attention"],
}
# how many tokens each forward reads
CHUNKS = [(LENGTH,), (1,) * LENGTH, (4, 1, 1, 3), (2, 7)]
GROWING = {
    "made_by_forward": lambda config: None,
    "with_windows": lambda config: DynamicCache(config=config),
    "without_windows": lambda config: DynamicCache(),
    "static": lambda config: StaticCache(config, max_cache_len=ROOM),
}
KERNELS = ["sdpa", "eager", "sdpa_sliding_window", "eager_blockwise"]


def make_sliding(architecture, window, layers, **fields):
    kinds = {"layer_types": LAYERS[layers]}
    if architecture == "seq2seq":
        kinds["decoder_layer_types"] = LAYERS[layers][::-1]
    model = make(architecture, sliding_window=window, num_hidden_layers=2, **kinds, **fields)
    model.generation_config.eos_token_id = None
    return model


def logits_in_chunks(model, cache, chunks, **inputs):
    """Logits of LENGTH tokens that are read chunk by chunk with a cache."""
    tokens, logits, start = ids(2, LENGTH), [], 0
    name = "decoder_input_ids" if model.config.is_encoder_decoder else "input_ids"
    with torch.no_grad():
        for size in chunks:
            part = {name: tokens[:, start : start + size]}
            output = model(**inputs, **part, past_key_values=cache, use_cache=True)
            cache, start = output.past_key_values, start + size
            logits.append(output.logits)
        whole = model(**inputs, **{name: tokens}, use_cache=False).logits
    return torch.cat(logits, 1), whole


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("cache", GROWING)
def test_cached_logits_are_those_without_a_cache(cache, layers, window):
    # transformers' growing layers keep all keys for a window of one token
    model = make_sliding("decoder", window, layers)
    for chunks in CHUNKS:
        found, wanted = logits_in_chunks(model, GROWING[cache](model.config), chunks)
        assert_same(found, wanted, what=f"logits of {chunks}")


@pytest.mark.parametrize("position", ["alibi", "relative_bias", "rotary"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_cached_logits_in_a_window_of_one_token_with_every_kernel(kernel, position):
    if kernel == "sdpa_sliding_window" and position != "rotary":
        pytest.skip("it takes no score bias")
    model = make_sliding("decoder", 1, "sliding_first", position_type=position)
    model.set_attn_implementation(kernel)
    for chunks in CHUNKS:
        assert_same(*logits_in_chunks(model, DynamicCache(config=model.config), chunks), what=f"logits of {chunks}")


SEQ2SEQ_CACHES = {
    "made_by_forward": lambda config: None,
    "with_windows": lambda config: EncoderDecoderCache(DynamicCache(config=config), DynamicCache()),
    "without_windows": lambda config: EncoderDecoderCache(DynamicCache(), DynamicCache()),
}


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("cache", SEQ2SEQ_CACHES)
def test_cached_logits_of_an_encoder_decoder_are_those_without_a_cache(cache, window):
    model = make_sliding("seq2seq", window, "sliding_first")
    for chunks in CHUNKS:
        made = SEQ2SEQ_CACHES[cache](model.config)
        found, wanted = logits_in_chunks(model, made, chunks, input_ids=ids(2, 7, seed=1))
        assert_same(found, wanted, what=f"logits of {chunks}")


MODES = {
    "greedy": {},
    "beams": {"num_beams": 3},
    "static": {"cache_implementation": "static"},
    "chunked": {"prefill_chunk_size": 4},
    "prompt_lookup": {"prompt_lookup_num_tokens": 3},
    "assisted": {"assistant_model": None},
}


@pytest.mark.parametrize("window", [1, 2])
@pytest.mark.parametrize("architecture", ["decoder", "seq2seq"])
@pytest.mark.parametrize("mode", MODES)
def test_text_in_small_windows_is_that_without_a_cache(mode, architecture, window):
    model, settings = make_sliding(architecture, window, "sliding_first"), dict(MODES[mode])
    if mode == "assisted":
        settings["assistant_model"] = make_sliding(architecture, window, "sliding_first", seed=1)
    prompt = ids(1, 3).repeat(1, 3)
    shared = {"max_new_tokens": 6, "do_sample": False, "num_beams": settings.pop("num_beams", 1)}
    with torch.compiler.set_stance("force_eager"):
        found = model.generate(prompt, **shared, **settings)
    assert found.tolist() == model.generate(prompt, **shared, use_cache=False).tolist()


def test_a_padded_prompt_fills_the_cache_of_a_window_of_one_token():
    model = make_sliding("decoder", 1, "sliding_first")
    rows = [ids(1, 4), ids(1, 7, seed=1)]
    batch = torch.cat((torch.nn.functional.pad(rows[0], (3, 0)), rows[1]))
    mask = torch.tensor([[0, 0, 0, 1, 1, 1, 1], [1] * 7])
    texts = model.generate(batch, attention_mask=mask, max_new_tokens=5, do_sample=False)[:, -5:]
    wanted = [model.generate(row, max_new_tokens=5, do_sample=False, use_cache=False)[0, -5:] for row in rows]
    assert texts.tolist() == torch.stack(wanted).tolist()


def smaller_window(config):
    return DynamicCache(config=type(config)(**{**config.to_dict(), "sliding_window": 2}))


FORGETFUL = {
    # (window, layers) of the model, cache
    "static, shorter than the window": (8, "sliding", lambda config: StaticCache(config, max_cache_len=5)),
    "a smaller window": (8, "sliding", smaller_window),
    "windows for a full layer": (
        2,
        "full_first",
        lambda config: DynamicCache(config=make_sliding("decoder", 2, "sliding").config),
    ),
}


@pytest.mark.parametrize("case", FORGETFUL)
def test_a_cache_that_forgets_keys_is_refused_once_it_would(case):
    window, layers, make_cache = FORGETFUL[case]
    model = make_sliding("decoder", window, layers)
    cache = make_cache(model.config)
    model(ids(1, 2), past_key_values=cache)
    with pytest.raises(ValueError, match="which reads more"):
        model(ids(1, 4), past_key_values=cache)


@pytest.mark.parametrize("kind", ["growing", "static"])
def test_a_memory_cache_with_windows_is_refused(kind):
    model = make_sliding("seq2seq", 3, "sliding")
    makers = {
        "growing": lambda: DynamicCache(config=model.config),
        "static": lambda: StaticCache(model.config, max_cache_len=ROOM),
    }
    cache = EncoderDecoderCache(makers[kind](), makers[kind]())
    with pytest.raises(ValueError, match="3 of the 7 tokens of the source"):
        model(input_ids=ids(1, 7), decoder_input_ids=ids(1, 2), past_key_values=cache)
    # a source that fits is read whole
    model(
        input_ids=ids(1, 3),
        decoder_input_ids=ids(1, 2),
        past_key_values=EncoderDecoderCache(makers[kind](), makers[kind]()),
    )
