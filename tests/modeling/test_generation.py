"""`generate`: every cache and search method gives the text of a plain greedy loop."""

import pytest
import torch

from tests.grid import SIZES, ids, make

VARIANTS = {
    "rotary": {},
    "alibi": {"position_type": "alibi", "residual_type": "parallel"},
    "relative_bias": {"position_type": "relative_bias", "norm_type": "rms_norm"},
    "learned_post": {"position_type": "learned", "residual_type": "post", "embedding_norm": "after_positions"},
    "sliding_full": {
        "sliding_window": 4,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "decoder_layer_types": ["full_attention", "sliding_attention"],
        "decoder_layers": 2,
    },
    "experts_sinks": {"mlp_type": "moe", "attention_sinks": True, "num_key_value_heads": 2},
}
CASES = pytest.mark.parametrize(
    ("architecture", "fields"),
    [
        pytest.param(
            architecture,
            {k: v for k, v in fields.items() if architecture == "seq2seq" or not k.startswith("decoder_")},
            id=f"{architecture}-{name}",
        )
        for architecture in ("decoder", "seq2seq")
        for name, fields in VARIANTS.items()
    ],
)
NEW = 8


def make_without_eos(architecture, fields):
    """A model whose generation never stops early."""
    model = make(architecture, **fields)
    model.generation_config.eos_token_id = None
    return model


def generate(model, prompt, **settings):
    """The new tokens."""
    return model.generate(prompt, max_new_tokens=NEW, **{"do_sample": False, **settings})[:, -NEW:].tolist()


def reference_greedy(model, prompt):
    """Each token is the argmax of a full forward without a cache."""
    seq2seq = model.config.is_encoder_decoder
    tokens = torch.full((prompt.shape[0], 1), SIZES["bos_token_id"]) if seq2seq else prompt
    for _ in range(NEW):
        inputs = {"input_ids": prompt, "decoder_input_ids": tokens} if seq2seq else {"input_ids": tokens}
        with torch.no_grad():
            next_token = model(**inputs, use_cache=False).logits[:, -1].argmax(-1, keepdim=True)
        tokens = torch.cat((tokens, next_token), 1)
    return tokens[:, -NEW:].tolist()


@CASES
def test_greedy_text_is_the_argmax_of_full_forwards(architecture, fields):
    model, prompt = make_without_eos(architecture, fields), ids(2, 7)
    assert generate(model, prompt) == reference_greedy(model, prompt)


@CASES
@pytest.mark.parametrize(
    "settings",
    [{"cache_implementation": "static"}, {"use_cache": False}, {"cache_implementation": "offloaded"}],
    ids=str,
)
def test_every_cache_gives_the_same_text(architecture, fields, settings):
    if settings.get("cache_implementation") == "offloaded" and not torch.cuda.is_available():
        settings = {"cache_implementation": "dynamic"}
    model, prompt = make_without_eos(architecture, fields), ids(2, 7)
    with torch.compiler.set_stance("force_eager"):
        assert generate(model, prompt, **settings) == generate(model, prompt)


@CASES
def test_beam_search_with_cache_equals_without(architecture, fields):
    model, prompt = make_without_eos(architecture, fields), ids(2, 7)
    found = generate(model, prompt, num_beams=3)
    assert found == generate(model, prompt, num_beams=3, use_cache=False)


@CASES
def test_sampling_repeats_with_its_seed(architecture, fields):
    model, prompt = make_without_eos(architecture, fields), ids(2, 7)
    drawn = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        drawn.append(generate(model, prompt, do_sample=True))
    assert drawn[0] == drawn[1] != drawn[2]


@CASES
def test_prompt_lookup_gives_the_greedy_text(architecture, fields):
    model, prompt = make_without_eos(architecture, fields), ids(1, 3).repeat(1, 3)
    assert generate(model, prompt, prompt_lookup_num_tokens=3) == generate(model, prompt)


@CASES
def test_assisted_generation_gives_the_greedy_text(architecture, fields):
    model, prompt = make_without_eos(architecture, fields), ids(1, 7)
    assistant = make_without_eos(
        architecture, {**fields, "hidden_size": 16, "intermediate_size": 16, "embedding_size": None}
    )
    assert generate(model, prompt, assistant_model=assistant) == generate(model, prompt)


def test_inputs_embeds_as_prompt_give_the_same_text():
    model, prompt = make_without_eos("decoder", {"embedding_scale": 2.0}), ids(2, 7)
    embeds = model.get_input_embeddings()(prompt)
    assert model.generate(inputs_embeds=embeds, max_new_tokens=NEW, do_sample=False).tolist() == generate(model, prompt)


def test_logits_to_keep_gives_the_last_logits():
    model, prompt = make_without_eos("decoder", {}), ids(2, 7)
    with torch.no_grad():
        logits, last = model(prompt).logits, model(prompt, logits_to_keep=2).logits
    assert torch.allclose(logits[:, -2:], last, atol=1e-6)


def test_cross_attention_projects_encoder_states_once():
    model, prompt = make_without_eos("seq2seq", {}), ids(2, 7)
    calls = []
    model.model.decoder.layers[0].cross_attn.k_proj.register_forward_hook(lambda *_: calls.append(1))
    generate(model, prompt)
    assert len(calls) == 1
