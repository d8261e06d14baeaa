"""The door to padding-free: the same numbers at real tokens, open or closed, and closed where it must be."""

import copy
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import AttentionInterface, DynamicCache, EncoderDecoderCache, StaticCache

from hf_tfm.modeling import unpadding, varlen_attention
from tests.grid import assert_same, ids, make, words_of
from tests.modeling.padded_batches import LEFT, LENGTHS, MIXED, RIGHT, batch


@pytest.fixture
def opened(monkeypatch):
    """Every time that the door opens, the number of tokens that go through."""
    seen = []
    take = unpadding.TokenIndex.unpad

    def watched(self, states):
        seen.append(len(self.indices))
        return take(self, states)

    monkeypatch.setattr(unpadding.TokenIndex, "unpad", watched)
    return seen


def answers(model, inputs, mask):
    """Loss, logits at real tokens, and every gradient."""
    model = copy.deepcopy(model)
    outputs = model(**inputs)
    outputs.loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {"loss": outputs.loss.detach(), "logits": outputs.logits.detach()[mask.bool()], **gradients}


def both(model, inputs, mask):
    """The same with the door closed and open."""
    found = {}
    for word in (False, True):
        model.config.padding_free = word
        found[word] = answers(model, inputs, mask)
    return found[False], found[True]


def test_real_tokens_alone_give_the_padded_numbers(architecture, row, opened):
    model = make(architecture, **words_of(row))
    experts = model.config.mlp_type == "moe"
    inputs, mask = batch(architecture, MIXED)
    if experts:
        # with labels the host records router logits, and the door stays closed
        labels = inputs.pop("labels")
        model.config.padding_free = True
        outputs = model(**inputs)
        model.config.padding_free = False
        assert_same(outputs.logits[mask.bool()], model(**inputs).logits[mask.bool()], what="logits")
        inputs["labels"] = labels
    closed, found = both(model, inputs, mask)
    for name, value in closed.items():
        assert value is not None, f"{name} has no gradient"
        assert_same(found[name], value, 1e-5, name)
    assert set(opened) == {sum(LENGTHS)}, "the door did not open"


@pytest.mark.parametrize("architecture", ["decoder", "seq2seq"])
@pytest.mark.parametrize("kind", ["reentrant", "not_reentrant"])
def test_checkpointed_gradients_are_the_same(architecture, kind, opened):
    model = make(architecture, position_type="relative_bias", sliding_window=4)
    inputs, mask = batch(architecture, MIXED)
    _, wanted = both(model, inputs, mask)
    model.train().activation_checkpointing_enable({"use_reentrant": kind == "reentrant"})
    found = answers(model, inputs | {"use_cache": False}, mask)
    for name, value in wanted.items():
        assert_same(found[name], value, 1e-5, name)
    assert opened


def test_memory_alone_may_be_padded(opened):
    """Trainers give an encoder-decoder no mask for its targets."""
    model = make("seq2seq", position_type="alibi")
    inputs, _ = batch("seq2seq", MIXED)
    del inputs["decoder_attention_mask"]
    closed, found = both(model, inputs, torch.ones_like(RIGHT))
    for name, value in closed.items():
        assert_same(found[name], value, 1e-5, name)
    assert set(opened) == {sum(LENGTHS), RIGHT.numel()}


@pytest.mark.parametrize("words", [{}, {"mlp_type": "moe", "num_experts": 3}])
def test_a_fused_loss_reads_no_target_after_the_last_label(words, opened):
    model = make("seq2seq", **words)
    labels = ids(4, 9, seed=2).masked_fill(RIGHT == 0, -100)
    labels[1, 4] = -100  # not scored, but read by what follows
    labels[3] = -100
    inputs = {"input_ids": ids(4, 9), "decoder_input_ids": ids(4, 9, seed=3), "labels": labels}
    full, lean = copy.deepcopy(model), model
    wanted, found = full(**inputs).loss, lean(**inputs, fused_loss=True).loss
    wanted.backward(), found.backward()
    assert_same(found, wanted, 1e-6, "loss")
    for (name, parameter), other in zip(lean.named_parameters(), full.parameters(), strict=True):
        assert_same(parameter.grad, other.grad, 1e-5, name)
    # experts' balance counts every token
    assert set(opened) == (set() if words else {36, 3 + 9 + 3 + 1})


def test_a_fused_loss_keeps_packed_targets_apart():
    model = make("seq2seq")
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4]]).expand(4, -1)
    labels = ids(4, 9, seed=2).masked_fill(RIGHT == 0, -100)
    inputs = {"input_ids": ids(4, 9), "decoder_input_ids": ids(4, 9, seed=3), "decoder_position_ids": positions}
    full, lean = (model(**inputs, labels=labels, fused_loss=choice).loss for choice in (False, True))
    assert_same(lean, full, 1e-6, "loss")


@pytest.mark.parametrize("architecture", ["encoder", "decoder"])
@pytest.mark.parametrize("window", [None, 4])
def test_packed_documents_are_read_one_by_one(architecture, window, opened):
    model = make(architecture, sliding_window=window)
    positions = torch.stack([torch.cat([torch.arange(n) for n in lengths]) for lengths in ((4, 5), (2, 7))])
    tokens = ids(2, 9)
    found = {}
    for word in (False, True):
        model.config.padding_free = word
        found[word] = model(tokens, position_ids=positions, labels=tokens)
    assert_same(found[True].logits, found[False].logits, what="logits")
    assert_same(found[True].loss, found[False].loss, 1e-6, "loss")
    assert set(opened) == {18}


@pytest.mark.parametrize("kind", ["dynamic", "static", "none given"])
@pytest.mark.parametrize("window", [None, 4])
def test_a_filled_cache_is_that_of_the_padded_batch(kind, window, opened):
    model = make("decoder", sliding_window=window)
    inputs, mask = batch("decoder", LEFT, use_cache=True)
    del inputs["labels"]
    caches = {}
    for word in (False, True):
        model.config.padding_free = word
        cache = {
            "dynamic": lambda: DynamicCache(config=model.config),
            "static": lambda: StaticCache(config=model.config, max_cache_len=12),
            "none given": lambda: None,
        }[kind]()
        outputs = model(**inputs, past_key_values=cache)
        step = {"input_ids": ids(4, 1, seed=5), "attention_mask": torch.cat((mask, torch.ones(4, 1).long()), 1)}
        caches[word] = model(**step, past_key_values=outputs.past_key_values, use_cache=True)
    assert opened, "the door did not open"
    assert_same(caches[True].logits, caches[False].logits, what="logits of the next token")
    for found, wanted in zip(caches[True].past_key_values.layers, caches[False].past_key_values.layers, strict=True):
        assert found.keys.shape == wanted.keys.shape


def test_both_sides_of_a_cache_are_filled(opened):
    model = make("seq2seq")
    inputs, _ = batch("seq2seq", MIXED, use_cache=True)
    del inputs["labels"], inputs["decoder_attention_mask"]
    found = {}
    for word in (False, True):
        model.config.padding_free = word
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        outputs = model(**inputs, past_key_values=cache)
        again = {"encoder_outputs": (outputs.encoder_last_hidden_state,), "attention_mask": MIXED}
        step = model(**again, decoder_input_ids=ids(4, 1, seed=5), past_key_values=cache, use_cache=True)
        found[word] = step.logits, cache.cross_attention_cache.layers[0].keys[:, :, :, 0].transpose(1, 2)[MIXED.bool()]
    assert opened
    for name, open_, closed in zip(("logits", "memory's keys"), found[True], found[False], strict=True):
        assert_same(open_, closed, what=name)


def holes(mask):
    mask = mask.clone()
    mask[1, 4] = 0
    return mask


CLOSED = {
    "a hole in a row": {"attention_mask": holes(MIXED)},
    "a row without a real token": {"attention_mask": torch.cat((MIXED[:3], torch.zeros(1, 9).long()))},
    "a ready mask": {"attention_mask": torch.ones(4, 1, 9, 9, dtype=torch.bool)},
    "nothing to gain": {"attention_mask": torch.ones(4, 9).long()},
    "no mask": {},
    "hidden states": {"attention_mask": MIXED, "output_hidden_states": True},
    "attentions": {"attention_mask": MIXED, "output_attentions": True},
}


@pytest.mark.parametrize("why", CLOSED)
def test_the_door_stays_closed(why, opened):
    model = make("encoder")
    if why == "attentions":
        model.set_attn_implementation("eager")
    outputs = model(ids(4, 9), **CLOSED[why])
    assert not opened
    for states in (*(outputs.hidden_states or ()), *(outputs.attentions or ())):
        assert states.shape[0] == 4, "recorded states are those of the batch"


def test_a_configuration_that_records_closes_the_door(opened):
    model = make("decoder", output_hidden_states=True)
    assert model(ids(4, 9), attention_mask=MIXED).hidden_states[1].shape[:2] == (4, 9)
    assert not opened


@pytest.mark.parametrize("word", ["flex_attention", "a kernel from elsewhere"])
def test_kernels_that_do_not_cut_rows_close_the_door(word, opened, monkeypatch):
    model = make("encoder")
    monkeypatch.setattr(model.config, "_attn_implementation_internal", word)
    assert varlen_attention.choose_varlen_backend(model.config, torch.zeros(1, 2, 4)) is None


def attention_of_flattened_rows(query, key, value, bounds_q, bounds_k, scale, window, is_causal):
    """(N, H, D) for sequences between bounds, spelled out: what variable-length kernels compute."""
    outputs = []
    for row in range(len(bounds_q) - 1):
        q = query[bounds_q[row] : bounds_q[row + 1]].transpose(0, 1)
        k, v = (states[bounds_k[row] : bounds_k[row + 1]].transpose(0, 1) for states in (key, value))
        distance = torch.arange(k.shape[1])[None] - torch.arange(q.shape[1])[:, None]
        seen = torch.ones_like(distance, dtype=torch.bool)
        if is_causal:
            seen &= distance <= 0
        if window[0] >= 0:
            seen &= distance >= -window[0]
        if window[1] >= 0:
            seen &= distance <= window[1]
        outputs.append(F.scaled_dot_product_attention(q, k, v, seen, scale=scale, enable_gqa=True).transpose(0, 1))
    return torch.cat(outputs)


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("architecture", ["encoder", "decoder", "seq2seq"])
def test_torchs_kernel_for_variable_lengths_is_asked_rightly(architecture, window, opened, monkeypatch):
    """Its place is taken by what its documentation says, since it runs on GPUs only."""

    def kernel(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale, window_size, **grouped):
        assert (max_q, max_k) == (cu_seq_q.diff().max(), cu_seq_k.diff().max())
        # torch before 2.12 does not know the word
        assert grouped == ({"enable_gqa": True} if "enable_gqa" in varlen_attention.VARLEN_PARAMETERS else {})
        return attention_of_flattened_rows(query, key, value, cu_seq_q, cu_seq_k, scale, window_size, False)

    model = make(architecture, num_key_value_heads=2, sliding_window=window)
    inputs, mask = batch(architecture, MIXED)
    monkeypatch.setattr(varlen_attention, "VARLEN_ATTN", kernel)
    monkeypatch.setattr(unpadding, "choose_varlen_backend", lambda config, embeds: "torch_varlen")
    closed, found = both(model, inputs, mask)
    for name, value in closed.items():
        assert_same(found[name], value, 1e-5, name)
    assert opened


@pytest.mark.parametrize("architecture", ["encoder", "decoder", "seq2seq"])
def test_flash_attention_is_told_where_sequences_end(architecture, opened, monkeypatch):
    """By the host's names for it; the kernel itself runs on GPUs only."""

    def kernel(module, query, key, value, attention_mask, scaling, sliding_window, **told):
        assert attention_mask is None
        assert told["max_length_q"] == told["cu_seq_lens_q"].diff().max()
        assert told["max_length_k"] == told["cu_seq_lens_k"].diff().max()
        states = (part.squeeze(0).transpose(0, 1) for part in (query, key, value))
        bounds = told["cu_seq_lens_q"], told["cu_seq_lens_k"]
        output = attention_of_flattened_rows(*states, *bounds, scaling, (-1, -1), module.is_causal)
        return output.unsqueeze(0), None

    model = make(architecture)
    inputs, mask = batch(architecture, MIXED)
    model.config.padding_free = False
    wanted = answers(model, inputs, mask)
    AttentionInterface.register("flash_attention_of_a_test", kernel)
    model.config._attn_implementation = "flash_attention_of_a_test"
    model.config.padding_free = True
    monkeypatch.setattr(unpadding, "choose_varlen_backend", lambda config, embeds: "flash_attention")
    # collators of flattened rows tell bounds too, for the order that they know
    inputs |= {"cu_seq_lens_q": None, "max_length_q": None}
    for name, value in answers(model, inputs, mask).items():
        assert_same(value, wanted[name], 1e-5, name)
    assert opened


class OnAGpu:
    """Word vectors as far as the door looks at them."""

    device, dtype = torch.device("cuda"), torch.bfloat16


def test_torchs_kernel_is_taken_only_where_it_computes_what_is_configured(monkeypatch):
    states: Any = OnAGpu()
    monkeypatch.setattr(varlen_attention, "VARLEN_ATTN", None)
    assert varlen_attention.choose_varlen_backend(make("encoder").config, states) is None, "torch has no such kernel"
    monkeypatch.setattr(varlen_attention, "VARLEN_ATTN", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert varlen_attention.choose_varlen_backend(make("encoder").config, states) == "torch_varlen"
    unfit = ({"position_type": "alibi"}, {"attention_dropout": 0.1}, {"attention_sinks": True}, {"head_dim": 12})
    for words in (*unfit, {"head_dim": 200}):
        assert varlen_attention.choose_varlen_backend(make("encoder", **words).config, states) is None, words
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert varlen_attention.choose_varlen_backend(make("encoder").config, states) is None, (
        "flash attention knows no such GPU"
    )
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    states.dtype = torch.float32
    assert varlen_attention.choose_varlen_backend(make("encoder").config, states) is None
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: True)
    assert varlen_attention.choose_varlen_backend(make("encoder").config, states) == "torch_varlen"
