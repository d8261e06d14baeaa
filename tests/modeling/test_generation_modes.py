"""Other modes of `generate`: padded batches, beams, samples, caches, chats, continuous batching."""

import re

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional as F
from transformers import (
    ContinuousBatchingConfig,
    DynamicCache,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    QuantizedCache,
    TokenizersBackend,
)

from hf_tfm.modeling.position import POSITIONS
from tests.grid import SIZES, assert_same, ids, make, needs_compiler
from tests.modeling.test_properties import add_padding

NEW = 8
MIXED = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
VARIANTS = {
    **{position: {"position_type": position} for position in POSITIONS},
    "sliding": {"sliding_window": 4},
    "mixed_alibi": {**MIXED, "position_type": "alibi"},
}
GENERATORS = pytest.mark.parametrize("architecture", ["decoder", "seq2seq"])
EACH_VARIANT = pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS)


def make_without_eos(architecture, **fields):
    """A model whose generation never stops early."""
    model = make(architecture, **fields)
    model.generation_config.eos_token_id = None
    return model


def generate(model, prompt, **settings):
    """The new tokens."""
    return model.generate(prompt, max_new_tokens=NEW, **{"do_sample": False, **settings})[:, -NEW:].tolist()


@EACH_VARIANT
@GENERATORS
@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}], ids=str)
def test_left_padded_batch_gives_the_text_of_each_single_row(architecture, fields, settings):
    model = make_without_eos(architecture, **fields)
    rows = [ids(1, length, seed=length) for length in (4, 7, 9)]
    longer, masks = zip(*(add_padding(row, "left", 9 - row.shape[1]) for row in rows), strict=True)
    batch = generate(model, torch.cat(longer), attention_mask=torch.cat(masks), **settings)
    assert batch == [generate(model, row, **settings)[0] for row in rows]


@GENERATORS
@pytest.mark.parametrize("stopping", [True, False, "never"])
def test_beams_are_distinct_and_in_order_of_likelihood(architecture, stopping):
    # with this seed the two prompts of the encoder-decoder share no sequence
    model, prompt = make(architecture, seed=1), ids(2, 7)
    settings = {"max_new_tokens": NEW, "do_sample": False, "num_beams": 4, "num_return_sequences": 4}
    more = {"early_stopping": stopping, "output_scores": True, "return_dict_in_generate": True}
    found = model.generate(prompt, **settings, **more)
    plain = model.generate(prompt, **settings, **more, use_cache=False)
    assert found.sequences.tolist() == plain.sequences.tolist()
    scores = found.sequences_scores.view(2, 4)
    assert (scores.diff(dim=-1) <= 0).all(), "not in order of likelihood"
    assert len({tuple(row) for row in found.sequences.tolist()}) == 8, "the same sequence twice"


@EACH_VARIANT
def test_beam_scores_are_mean_log_probabilities(fields):
    model, prompt = make_without_eos("decoder", **fields), ids(2, 7)
    settings = {"num_beams": 3, "num_return_sequences": 3, "output_scores": True, "return_dict_in_generate": True}
    found = model.generate(prompt, max_new_tokens=NEW, do_sample=False, **settings)
    with torch.no_grad():
        logits = model(found.sequences, use_cache=False).logits[:, -NEW - 1 : -1]
    likely = logits.log_softmax(-1).gather(-1, found.sequences[:, -NEW:, None])
    assert_same(found.sequences_scores, likely.mean((1, 2)), what="scores")


@GENERATORS
def test_several_samples_per_prompt_repeat_with_their_seed(architecture):
    model, prompt = make_without_eos(architecture), ids(2, 7)
    drawn = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        drawn.append(generate(model, prompt, do_sample=True, num_return_sequences=3, top_k=20, temperature=1.5))
    assert len(drawn[0]) == 6
    assert len({tuple(row) for row in drawn[0]}) > 2
    assert drawn[0] == drawn[1] != drawn[2]


@GENERATORS
@pytest.mark.parametrize("cache", ["static", "sliding_window", "hybrid"])
@EACH_VARIANT
def test_fixed_size_caches_give_the_text_of_the_dynamic_cache(architecture, cache, fields):
    model, prompt = make_without_eos(architecture, **fields), ids(2, 7)
    with torch.compiler.set_stance("force_eager"):
        assert generate(model, prompt, cache_implementation=cache) == generate(model, prompt)


def make_llama():
    sizes = {key: value for key, value in SIZES.items() if not key.endswith("_id")}
    return LlamaForCausalLM(LlamaConfig(**sizes)).eval()


@pytest.mark.parametrize("cache", ["offloaded", "offloaded_static"])
def test_offloaded_caches_work_where_they_work_for_llama(cache):
    prompt = ids(2, 7)
    try:
        generate(make_llama(), prompt, cache_implementation=cache)
    except (AssertionError, RuntimeError) as reason:
        for architecture in ("decoder", "seq2seq"):
            with pytest.raises(type(reason), match=re.escape(str(reason))):
                generate(make_without_eos(architecture), prompt, cache_implementation=cache)
        return
    for architecture in ("decoder", "seq2seq"):
        model = make_without_eos(architecture)
        assert generate(model, prompt, cache_implementation=cache) == generate(model, prompt)


@needs_compiler
@pytest.mark.xdist_group("quanto")  # compiles C++ code at first use, and other workers would wait for it
@pytest.mark.parametrize("position", POSITIONS)
def test_quantised_cache_rounds_and_keeps_the_order_of_tokens(position):
    pytest.importorskip("optimum.quanto")
    model, tokens = make_without_eos("decoder", position_type=position, hidden_size=256), ids(2, 9)
    prompt, following = tokens[:, :8], tokens[:, 8:]
    quantised = QuantizedCache("quanto", model.config, nbits=4, q_group_size=64, residual_length=4)
    caches = {"exact": (DynamicCache(), prompt), "reversed": (DynamicCache(), prompt.flip(1))}
    found = {}
    with torch.no_grad():
        for name, (cache, context) in {**caches, "quantised": (quantised, prompt)}.items():
            model(context, past_key_values=cache)
            found[name] = model(following, past_key_values=cache).logits[:, 0]
    similarity = {name: F.cosine_similarity(logits, found["exact"]).min() for name, logits in found.items()}
    assert similarity["reversed"] < similarity["quantised"] < 1, similarity
    cache = {"backend": "quanto", "nbits": 4, "q_group_size": 64, "residual_length": 4}
    rounded = generate(model, prompt, cache_implementation="quantized", cache_config=cache)
    # the first new token depends on exact states of the prompt
    assert [row[0] for row in rounded] == [row[0] for row in generate(model, prompt)]


@pytest.mark.parametrize(("architecture", "fields"), [("decoder", {"sliding_window": 4}), ("seq2seq", {})])
def test_quantised_cache_is_refused_if_transformers_cannot_quantise(architecture, fields):
    with pytest.raises(ValueError, match=r"(?i)quantized ?cache"):
        generate(make_without_eos(architecture, **fields), ids(2, 7), cache_implementation="quantized")


CHAT_TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<bot>{% endif %}"
)
TURNS = [{"role": "user", "content": "one two three"}]


@pytest.fixture(scope="module")
def chat_tokenizer():
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer, trained.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<pad>", "<end>", "<user>", "<bot>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet)
    trained.train_from_iterator(["one two three four five six"] * 20, trainer)
    tokenizer = TokenizersBackend(tokenizer_object=trained, pad_token="<pad>", eos_token="<end>")
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def test_chat_of_two_turns_is_generated(chat_tokenizer):
    model = make("decoder", vocab_size=len(chat_tokenizer), pad_token_id=0, eos_token_id=1)
    template = {"add_generation_prompt": True, "return_tensors": "pt", "return_dict": True}
    prompt = chat_tokenizer.apply_chat_template(TURNS, **template)
    assert chat_tokenizer.decode(prompt["input_ids"][0]) == "<user>one two three<end><bot>"
    tokens = model.generate(**prompt, max_new_tokens=NEW, do_sample=False)
    assert chat_tokenizer.decode(tokens[0]).startswith("<user>one two three<end><bot>")
    answer = chat_tokenizer.decode(tokens[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    more = [*TURNS, {"role": "bot", "content": answer}, {"role": "user", "content": "four"}]
    longer = chat_tokenizer.apply_chat_template(more, **template)
    wanted = f"<user>one two three<end><bot>{answer}<end><user>four<end><bot>"
    assert chat_tokenizer.decode(longer["input_ids"][0]) == wanted
    assert model.generate(**longer, max_new_tokens=2, do_sample=False).shape[1] == longer["input_ids"].shape[1] + 2


# What continuous batching supports. transformers adds "paged|" to the names of attention implementations.
SUPPORTED = {
    "none": {"position_type": "none"},
    "learned": {"position_type": "learned"},
    "sinusoidal": {"position_type": "sinusoidal"},
    "rotary": {},
    "sliding": {"sliding_window": 4},
    "mixed": MIXED | {"query_temperature": 0.5, "query_temperature_length": 3, "attention_output_gate": "channel"},
    "experts": {"mlp_type": "moe", "num_key_value_heads": 2},
    "post": {"residual_type": "post", "qk_norm": "head", "qk_norm_position": "after_rotation", "value_residual": True},
}
PAGED_CACHE = ContinuousBatchingConfig(num_blocks=16, max_batch_tokens=32)
GREEDY = GenerationConfig(max_new_tokens=NEW, do_sample=False, eos_token_id=-1, pad_token_id=0)


def generate_batch(model, prompts):
    """New tokens of each prompt by continuous batching."""
    answers = model.generate_batch(prompts, generation_config=GREEDY, continuous_batching_config=PAGED_CACHE).values()
    assert [answer.error for answer in answers] == [None] * len(prompts)
    return [answer.generated_tokens for answer in answers]


def assert_same_text_as_generate(model):
    # more tokens than fit in one step: some prompts wait or are split
    prompts = [ids(1, length, seed=length)[0].tolist() for length in (4, 20, 9, 15)]
    wanted = [generate(model, torch.tensor([prompt]))[0] for prompt in prompts]
    assert generate_batch(model, prompts) == wanted


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
@pytest.mark.parametrize("fields", SUPPORTED.values(), ids=SUPPORTED)
def test_continuous_batching_gives_the_greedy_text(fields, kernel):
    model = make_without_eos("decoder", **fields)
    model.set_attn_implementation(kernel)
    assert_same_text_as_generate(model)
    assert model.config._attn_implementation == kernel


def test_continuous_batching_supports_sinks_with_eager_attention():
    assert_same_text_as_generate(make_without_eos("decoder", attention_sinks=True))


# what the error names -> configuration fields, attention implementations
UNSUPPORTED = {
    'position_type="alibi"': ({"position_type": "alibi"}, ("eager", "sdpa")),
    'position_type="relative_bias"': ({"position_type": "relative_bias"}, ("eager", "sdpa")),
    "attn_logit_softcapping=2.0": ({"attn_logit_softcapping": 2.0}, ("eager",)),
    "sliding_window=1": ({"sliding_window": 1}, ("eager", "sdpa")),
}
ENTRY_POINTS = {
    "generate_batch": lambda model: model.generate_batch([[5, 6, 7]], generation_config=GREEDY),
    "init_continuous_batching": lambda model: model.init_continuous_batching(generation_config=GREEDY),
    "paged_cache": lambda model: model.generate(torch.tensor([[5, 6, 7]]), cache_implementation="paged"),
}


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
@pytest.mark.parametrize(
    ("feature", "kernel"), [(feature, kernel) for feature in UNSUPPORTED for kernel in UNSUPPORTED[feature][1]]
)
def test_features_that_continuous_batching_would_drop_are_refused_by_name(feature, kernel, entry_point):
    # alibi under sdpa gave other text than generate, without an error
    model = make_without_eos("decoder", **UNSUPPORTED[feature][0])
    model.set_attn_implementation(kernel)
    with pytest.raises(ValueError, match=feature):
        ENTRY_POINTS[entry_point](model)


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_continuous_batching_refuses_encoders(entry_point):
    # transformers accepts BART and generates without its encoder
    with pytest.raises(ValueError, match="tfm_seq2seq"):
        ENTRY_POINTS[entry_point](make_without_eos("seq2seq"))
    assert not hasattr(make("encoder"), "generate_batch")


@pytest.mark.parametrize("kernel", ["paged|eager", "paged|sdpa"])
@pytest.mark.parametrize("position", ["alibi", "relative_bias"])
def test_paged_attention_is_refused_for_score_biases(position, kernel, tmp_path):
    model = make("decoder", position_type=position)
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f'position_type="{position}"'):
        model.set_attn_implementation(kernel)
    with pytest.raises(ValueError, match=f'position_type="{position}"'):
        type(model).from_pretrained(tmp_path, attn_implementation=kernel)


def test_paged_attention_without_a_paged_cache_is_refused():
    model = make("decoder")
    model.set_attn_implementation("paged|eager")
    with pytest.raises(ValueError, match="paged attention cache"):
        model(ids(1, 5))


def test_request_beyond_the_learned_positions_reports_an_error():
    model = make_without_eos("decoder", position_type="learned")
    prompts = [ids(1, SIZES["max_position_embeddings"] - 2)[0].tolist()]
    with pytest.raises(IndexError):
        generate(model, torch.tensor(prompts))
    paged_cache = ContinuousBatchingConfig(num_blocks=16, max_batch_tokens=64)
    [answer] = model.generate_batch(prompts, generation_config=GREEDY, continuous_batching_config=paged_cache).values()
    assert "out of range" in answer.error
