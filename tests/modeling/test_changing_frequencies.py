"""Rotary frequencies that change with the length of the batch: keys of a cache that no longer fit are computed again,
or refused."""

from typing import Any

import pytest
import torch
from transformers import DynamicCache, EncoderDecoderCache, Phi3Config, Phi3ForCausalLM

from hf_tfm import from_native
from tests.grid import assert_same, ids, make

BORDER = 12
SCALINGS = {
    "longrope": {
        "rope_type": "longrope",
        "original_max_position_embeddings": BORDER,
        "short_factor": [1.0] * 4,
        "long_factor": [4.0, 3.0, 5.0, 2.0],
    },
    "dynamic": {"rope_type": "dynamic", "factor": 8.0},
}
# one set of frequencies by layer type, of which only that of full layers changes
NESTED = {
    "sliding_window": 4,
    "layer_types": ["sliding_attention", "full_attention"],
    "rope_parameters": {"sliding_attention": {"rope_type": "default"}, "full_attention": SCALINGS["longrope"]},
}
FIELDS = {**{name: {"rope_parameters": rope} for name, rope in SCALINGS.items()}, "nested": NESTED}
EACH = pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
GENERATORS = pytest.mark.parametrize("architecture", ["decoder", "seq2seq"])
NEW = 8


def make_generator(architecture, fields):
    sizes = {"num_hidden_layers": 2, "max_position_embeddings": BORDER}
    model = make(architecture, **{**sizes, **fields}).double()
    model.generation_config.eos_token_id = None
    return model


def generate(model, prompt, **settings):
    """The new tokens, of which those of a decoder begin before the border and end behind it."""
    count = NEW if not model.config.is_encoder_decoder else BORDER + NEW
    settings = {"max_new_tokens": count, "do_sample": False, **settings}
    return model.generate(prompt, **settings)[:, -count:].tolist()


@EACH
@GENERATORS
@pytest.mark.parametrize(
    "settings", [{}, {"num_beams": 2}, {"cache_implementation": "static"}], ids=["greedy", "beams", "static"]
)
def test_text_is_the_same_with_and_without_a_cache(architecture, fields, settings):
    model, prompt = make_generator(architecture, fields), ids(2, BORDER - 3)
    beams = {name: value for name, value in settings.items() if name == "num_beams"}
    with torch.compiler.set_stance("force_eager"):
        found = generate(model, prompt, **settings)
    assert found == generate(model, prompt, use_cache=False, **beams)


@EACH
def test_padded_columns_do_not_count_as_length(fields):
    model, row = make_generator("decoder", fields), ids(1, 5)
    padded = torch.cat((torch.zeros(1, 6, dtype=torch.long), row), 1)
    mask = torch.cat((torch.zeros(1, 6, dtype=torch.long), torch.ones_like(row)), 1)
    assert generate(model, padded, attention_mask=mask, max_new_tokens=NEW + 3) == generate(
        model, row, max_new_tokens=NEW + 3
    )


def test_text_of_a_converted_phi3_is_that_of_the_native_one():
    # the native class drops its cache where the other factors begin
    config = Phi3Config(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=48, max_position_embeddings=64, original_max_position_embeddings=8, pad_token_id=0,
        bos_token_id=1, eos_token_id=None,
        rope_parameters={**SCALINGS["longrope"], "rope_theta": 1e4, "original_max_position_embeddings": 8},
    )  # fmt: skip
    torch.manual_seed(0)
    native: Any = Phi3ForCausalLM(config).eval()
    for parameter in native.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.3)
    ours, prompt = from_native(native), torch.randint(3, 50, (2, 6))
    settings = {"max_new_tokens": 8, "do_sample": False}
    assert ours.generate(prompt, **settings).tolist() == native.generate(prompt, **settings).tolist()


@EACH
@GENERATORS
def test_keys_in_a_given_cache_that_no_longer_fit_are_refused(architecture, fields):
    model, tokens = make_generator(architecture, fields), ids(2, BORDER + 2)
    inputs = {"input_ids": ids(2, 5)} if architecture == "seq2seq" else {}
    name = "decoder_input_ids" if architecture == "seq2seq" else "input_ids"
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    cache = EncoderDecoderCache(cache, DynamicCache()) if inputs else cache
    with torch.no_grad():
        for start in range(0, BORDER, 4):
            model(**inputs, **{name: tokens[:, start : start + 4]}, past_key_values=cache)
        with pytest.raises(ValueError, match=rf"do not fit the new tokens: .*max_position_embeddings={BORDER}"):
            model(**inputs, **{name: tokens[:, BORDER:]}, past_key_values=cache)


@EACH
def test_modes_that_cannot_compute_keys_again_are_refused_by_name(fields):
    model, prompt = make_generator("decoder", fields), ids(1, BORDER - 3)
    with pytest.raises(ValueError, match="Assisted decoding"):
        generate(model, prompt, prompt_lookup_num_tokens=2)
    with pytest.raises(ValueError, match="Continuous batching does not support rope_parameters"):
        model.generate_batch([[5, 6, 7]])
    with pytest.raises(ValueError, match="prefill_chunk_size"):
        generate(model, ids(1, BORDER + 3), prefill_chunk_size=4)
    with pytest.raises(ValueError, match="give the prompt as input_ids"):
        model.generate(inputs_embeds=model.get_input_embeddings()(prompt), max_new_tokens=NEW)
    # within the border nothing changes
    plain = generate(model, prompt, max_new_tokens=3)
    assert generate(model, prompt, max_new_tokens=3, prompt_lookup_num_tokens=2) == plain


def test_frequencies_do_not_depend_on_batches_before():
    # transformers' own step keeps the frequencies of the longest batch so far
    model, row = make_generator("decoder", {"rope_parameters": SCALINGS["dynamic"]}), ids(1, BORDER + 2)
    with torch.no_grad():
        before = model(row).logits
        model(ids(1, 3 * BORDER))
        assert_same(model(row).logits, before, 0.0, "logits after a longer batch")
