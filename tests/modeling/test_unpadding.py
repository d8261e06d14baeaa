"""Unpadding gives the padded batch's numbers at real tokens, and is not used where it cannot be."""

import copy
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import AttentionInterface, DynamicCache, EncoderDecoderCache, StaticCache

from hf_tfm.modeling import unpadding, varlen_attention
from tests.grid import assert_same, config_fields, ids, make
from tests.modeling.padded_batches import LEFT, LENGTHS, MIXED, RIGHT, batch


@pytest.fixture
def unpadded_sizes(monkeypatch):
    """The number of real tokens of each unpadding."""
    sizes = []
    unpad = unpadding.TokenIndex.unpad

    def recording(self, states):
        sizes.append(len(self.indices))
        return unpad(self, states)

    monkeypatch.setattr(unpadding.TokenIndex, "unpad", recording)
    return sizes


def forward_backward(model, inputs, mask):
    """Loss, logits at real tokens, and every gradient."""
    model = copy.deepcopy(model)
    outputs = model(**inputs)
    outputs.loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {"loss": outputs.loss.detach(), "logits": outputs.logits.detach()[mask.bool()], **gradients}


def padded_and_unpadded(model, inputs, mask):
    """The results of `forward_backward` without and with unpadding."""
    results = {}
    for padding_free in (False, True):
        model.config.padding_free = padding_free
        results[padding_free] = forward_backward(model, inputs, mask)
    return results[False], results[True]


def test_unpadded_batch_equals_the_padded_one(architecture, row, unpadded_sizes):
    model = make(architecture, **config_fields(row))
    experts = model.config.mlp_type == "moe"
    inputs, mask = batch(architecture, MIXED)
    if experts:
        # with labels transformers records router logits, and the batch stays padded
        labels = inputs.pop("labels")
        model.config.padding_free = True
        outputs = model(**inputs)
        model.config.padding_free = False
        assert_same(outputs.logits[mask.bool()], model(**inputs).logits[mask.bool()], what="logits")
        inputs["labels"] = labels
    padded, found = padded_and_unpadded(model, inputs, mask)
    for name, value in padded.items():
        assert value is not None, f"{name} has no gradient"
        assert_same(found[name], value, 1e-5, name)
    assert set(unpadded_sizes) == {sum(LENGTHS)}, "the batch was not unpadded"


@pytest.mark.parametrize("architecture", ["decoder", "seq2seq"])
@pytest.mark.parametrize("kind", ["reentrant", "not_reentrant"])
def test_gradient_checkpointing_gives_the_same_gradients(architecture, kind, unpadded_sizes):
    model = make(architecture, position_type="relative_bias", sliding_window=4)
    inputs, mask = batch(architecture, MIXED)
    _, wanted = padded_and_unpadded(model, inputs, mask)
    model.train().activation_checkpointing_enable({"use_reentrant": kind == "reentrant"})
    found = forward_backward(model, inputs | {"use_cache": False}, mask)
    for name, value in wanted.items():
        assert_same(found[name], value, 1e-5, name)
    assert unpadded_sizes


def test_encoder_decoder_with_unmasked_targets_equals_the_padded_one(unpadded_sizes):
    """Trainer passes no decoder_attention_mask."""
    model = make("seq2seq", position_type="alibi")
    inputs, _ = batch("seq2seq", MIXED)
    del inputs["decoder_attention_mask"]
    padded, found = padded_and_unpadded(model, inputs, torch.ones_like(RIGHT))
    for name, value in padded.items():
        assert_same(found[name], value, 1e-5, name)
    assert set(unpadded_sizes) == {sum(LENGTHS), RIGHT.numel()}


@pytest.mark.parametrize("fields", [{}, {"mlp_type": "moe", "num_experts": 3}])
def test_fused_loss_unpads_targets_after_the_last_label(fields, unpadded_sizes):
    model = make("seq2seq", **fields)
    labels = ids(4, 9, seed=2).masked_fill(RIGHT == 0, -100)
    labels[1, 4] = -100  # no label, but later tokens attend to it
    labels[3] = -100
    inputs = {"input_ids": ids(4, 9), "decoder_input_ids": ids(4, 9, seed=3), "labels": labels}
    full, fused = copy.deepcopy(model), model
    wanted, found = full(**inputs).loss, fused(**inputs, fused_loss=True).loss
    wanted.backward(), found.backward()
    assert_same(found, wanted, 1e-6, "loss")
    for (name, parameter), other in zip(fused.named_parameters(), full.parameters(), strict=True):
        assert_same(parameter.grad, other.grad, 1e-5, name)
    # the load balancing of experts counts every token
    assert set(unpadded_sizes) == (set() if fields else {36, 3 + 9 + 3 + 1})


def test_fused_loss_of_packed_targets_equals_the_full_loss():
    model = make("seq2seq")
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4]]).expand(4, -1)
    labels = ids(4, 9, seed=2).masked_fill(RIGHT == 0, -100)
    inputs = {"input_ids": ids(4, 9), "decoder_input_ids": ids(4, 9, seed=3), "decoder_position_ids": positions}
    full, fused = (model(**inputs, labels=labels, fused_loss=choice).loss for choice in (False, True))
    assert_same(fused, full, 1e-6, "loss")


@pytest.mark.parametrize("architecture", ["encoder", "decoder"])
@pytest.mark.parametrize("window", [None, 4])
def test_packed_documents_equal_the_padded_computation(architecture, window, unpadded_sizes):
    model = make(architecture, sliding_window=window)
    positions = torch.stack([torch.cat([torch.arange(n) for n in lengths]) for lengths in ((4, 5), (2, 7))])
    tokens = ids(2, 9)
    found = {}
    for padding_free in (False, True):
        model.config.padding_free = padding_free
        found[padding_free] = model(tokens, position_ids=positions, labels=tokens)
    assert_same(found[True].logits, found[False].logits, what="logits")
    assert_same(found[True].loss, found[False].loss, 1e-6, "loss")
    assert set(unpadded_sizes) == {18}


@pytest.mark.parametrize("kind", ["dynamic", "static", "none given"])
@pytest.mark.parametrize("window", [None, 4])
def test_unpadded_prefill_fills_the_cache_of_the_padded_batch(kind, window, unpadded_sizes):
    model = make("decoder", sliding_window=window)
    inputs, mask = batch("decoder", LEFT, use_cache=True)
    del inputs["labels"]
    caches = {}
    for padding_free in (False, True):
        model.config.padding_free = padding_free
        cache = {
            "dynamic": lambda: DynamicCache(config=model.config),
            "static": lambda: StaticCache(config=model.config, max_cache_len=12),
            "none given": lambda: None,
        }[kind]()
        outputs = model(**inputs, past_key_values=cache)
        step = {"input_ids": ids(4, 1, seed=5), "attention_mask": torch.cat((mask, torch.ones(4, 1).long()), 1)}
        caches[padding_free] = model(**step, past_key_values=outputs.past_key_values, use_cache=True)
    assert unpadded_sizes, "the batch was not unpadded"
    assert_same(caches[True].logits, caches[False].logits, what="logits of the next token")
    for found, wanted in zip(caches[True].past_key_values.layers, caches[False].past_key_values.layers, strict=True):
        assert found.keys.shape == wanted.keys.shape


def test_self_and_cross_attention_caches_are_filled(unpadded_sizes):
    model = make("seq2seq")
    inputs, _ = batch("seq2seq", MIXED, use_cache=True)
    del inputs["labels"], inputs["decoder_attention_mask"]
    found = {}
    for padding_free in (False, True):
        model.config.padding_free = padding_free
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        outputs = model(**inputs, past_key_values=cache)
        again = {"encoder_outputs": (outputs.encoder_last_hidden_state,), "attention_mask": MIXED}
        step = model(**again, decoder_input_ids=ids(4, 1, seed=5), past_key_values=cache, use_cache=True)
        found[padding_free] = (
            step.logits,
            cache.cross_attention_cache.layers[0].keys[:, :, :, 0].transpose(1, 2)[MIXED.bool()],
        )
    assert unpadded_sizes
    for name, unpadded, padded in zip(("logits", "cross-attention keys"), found[True], found[False], strict=True):
        assert_same(unpadded, padded, what=name)


def with_a_hole(mask):
    mask = mask.clone()
    mask[1, 4] = 0
    return mask


# reason -> inputs that stay padded
STAYS_PADDED = {
    "a hole in a row": {"attention_mask": with_a_hole(MIXED)},
    "a row without a real token": {"attention_mask": torch.cat((MIXED[:3], torch.zeros(1, 9).long()))},
    "a 4d mask": {"attention_mask": torch.ones(4, 1, 9, 9, dtype=torch.bool)},
    "no padding": {"attention_mask": torch.ones(4, 9).long()},
    "no mask": {},
    "hidden states": {"attention_mask": MIXED, "output_hidden_states": True},
    "attentions": {"attention_mask": MIXED, "output_attentions": True},
}


@pytest.mark.parametrize("reason", STAYS_PADDED)
def test_batch_stays_padded(reason, unpadded_sizes):
    model = make("encoder")
    if reason == "attentions":
        model.set_attn_implementation("eager")
    outputs = model(ids(4, 9), **STAYS_PADDED[reason])
    assert not unpadded_sizes
    for states in (*(outputs.hidden_states or ()), *(outputs.attentions or ())):
        assert states.shape[0] == 4, "recorded states have the shape of the batch"


def test_batch_stays_padded_if_the_configuration_records_hidden_states(unpadded_sizes):
    model = make("decoder", output_hidden_states=True)
    assert model(ids(4, 9), attention_mask=MIXED).hidden_states[1].shape[:2] == (4, 9)
    assert not unpadded_sizes


@pytest.mark.parametrize("attention", ["flex_attention", "an unknown implementation"])
def test_attention_without_varlen_support_has_no_backend(attention, unpadded_sizes, monkeypatch):
    model = make("encoder")
    monkeypatch.setattr(model.config, "_attn_implementation_internal", attention)
    assert varlen_attention.choose_varlen_backend(model.config, torch.zeros(1, 2, 4)) is None


def reference_varlen_attention(query, key, value, bounds_q, bounds_k, scale, window, is_causal):
    """What variable-length kernels compute, (N, H, D), one sequence between bounds at a time."""
    outputs = []
    for row in range(len(bounds_q) - 1):
        q = query[bounds_q[row] : bounds_q[row + 1]].transpose(0, 1)
        k, v = (states[bounds_k[row] : bounds_k[row + 1]].transpose(0, 1) for states in (key, value))
        distance = torch.arange(k.shape[1])[None] - torch.arange(q.shape[1])[:, None]
        mask = torch.ones_like(distance, dtype=torch.bool)
        if is_causal:
            mask &= distance <= 0
        if window[0] >= 0:
            mask &= distance >= -window[0]
        if window[1] >= 0:
            mask &= distance <= window[1]
        outputs.append(F.scaled_dot_product_attention(q, k, v, mask, scale=scale, enable_gqa=True).transpose(0, 1))
    return torch.cat(outputs)


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("architecture", ["encoder", "decoder", "seq2seq"])
def test_torch_varlen_kernel_gets_the_right_arguments(architecture, window, unpadded_sizes, monkeypatch):
    """A reference implementation of its documentation replaces the kernel, which runs on GPUs only."""

    def kernel(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale, window_size, **grouped):
        assert (max_q, max_k) == (cu_seq_q.diff().max(), cu_seq_k.diff().max())
        # torch before 2.12 has no such argument
        assert grouped == ({"enable_gqa": True} if "enable_gqa" in varlen_attention.VARLEN_PARAMETERS else {})
        return reference_varlen_attention(query, key, value, cu_seq_q, cu_seq_k, scale, window_size, False)

    model = make(architecture, num_key_value_heads=2, sliding_window=window)
    inputs, mask = batch(architecture, MIXED)
    monkeypatch.setattr(varlen_attention, "VARLEN_ATTN", kernel)
    monkeypatch.setattr(unpadding, "choose_varlen_backend", lambda config, embeds: "torch_varlen")
    padded, found = padded_and_unpadded(model, inputs, mask)
    for name, value in padded.items():
        assert_same(found[name], value, 1e-5, name)
    assert unpadded_sizes


@pytest.mark.parametrize("architecture", ["encoder", "decoder", "seq2seq"])
def test_flash_attention_gets_the_bounds_of_sequences(architecture, unpadded_sizes, monkeypatch):
    """With the argument names of transformers. A reference replaces the kernel, which runs on GPUs only."""

    def kernel(module, query, key, value, attention_mask, scaling, sliding_window, **kwargs):
        assert attention_mask is None
        assert kwargs["max_length_q"] == kwargs["cu_seq_lens_q"].diff().max()
        assert kwargs["max_length_k"] == kwargs["cu_seq_lens_k"].diff().max()
        states = (part.squeeze(0).transpose(0, 1) for part in (query, key, value))
        bounds = kwargs["cu_seq_lens_q"], kwargs["cu_seq_lens_k"]
        output = reference_varlen_attention(*states, *bounds, scaling, (-1, -1), module.is_causal)
        return output.unsqueeze(0), None

    model = make(architecture)
    inputs, mask = batch(architecture, MIXED)
    model.config.padding_free = False
    wanted = forward_backward(model, inputs, mask)
    AttentionInterface.register("flash_attention_of_a_test", kernel)
    model.config._attn_implementation = "flash_attention_of_a_test"
    model.config.padding_free = True
    monkeypatch.setattr(unpadding, "choose_varlen_backend", lambda config, embeds: "flash_attention")
    # transformers' DataCollatorWithFlattening passes bounds too; ours replace them
    inputs |= {"cu_seq_lens_q": None, "max_length_q": None}
    for name, value in forward_backward(model, inputs, mask).items():
        assert_same(value, wanted[name], 1e-5, name)
    assert unpadded_sizes


class FakeGpuTensor:
    """The attributes of embeddings that `choose_varlen_backend` reads."""

    device, dtype = torch.device("cuda"), torch.bfloat16


def test_torch_varlen_is_chosen_only_if_it_supports_configuration_and_gpu(monkeypatch):
    states: Any = FakeGpuTensor()
    monkeypatch.setattr(varlen_attention, "VARLEN_ATTN", None)
    assert varlen_attention.choose_varlen_backend(make("encoder").config, states) is None, "this torch has no kernel"
    monkeypatch.setattr(varlen_attention, "VARLEN_ATTN", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert varlen_attention.choose_varlen_backend(make("encoder").config, states) == "torch_varlen"
    unfit = ({"position_type": "alibi"}, {"attention_dropout": 0.1}, {"attention_sinks": True}, {"head_dim": 12})
    for fields in (*unfit, {"head_dim": 200}):
        assert varlen_attention.choose_varlen_backend(make("encoder", **fields).config, states) is None, fields
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert varlen_attention.choose_varlen_backend(make("encoder").config, states) is None, (
        "the kernel does not support this GPU"
    )
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    states.dtype = torch.float32
    assert varlen_attention.choose_varlen_backend(make("encoder").config, states) is None
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: True)
    assert varlen_attention.choose_varlen_backend(make("encoder").config, states) == "torch_varlen"
