"""Configurations and inputs that would give wrong numbers raise an error that names the cause."""

import pytest
import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

import hf_tfm
from tests.grid import SIZES, assert_same, ids, logits_of, make

# feature -> configuration fields
FEATURES = {
    "position_type": {"position_type": "alibi"},
    "attn_logit_softcapping": {"attn_logit_softcapping": 5.0},
    "attention_sinks": {"attention_sinks": True},
}
# (feature, attention implementation that ignores it)
UNSUPPORTED = [
    ("position_type", "flash_attention_2"),
    ("position_type", "flash_attention_3"),
    ("position_type", "kernels-community/flash-attn2"),
    ("position_type", "paged|eager"),
    ("position_type", "a_serving_engine"),
    ("attn_logit_softcapping", "sdpa"),
    ("attn_logit_softcapping", "paged|eager"),
    ("attn_logit_softcapping", "a_serving_engine"),
    ("attention_sinks", "sdpa"),
    ("attention_sinks", "flash_attention_2"),
    ("attention_sinks", "a_serving_engine"),
]


@pytest.fixture(autouse=True)
def _serving_engine():
    AttentionInterface.register("a_serving_engine", sdpa_attention_forward)


@pytest.mark.parametrize(("feature", "kernel"), UNSUPPORTED)
def test_attention_that_would_drop_a_configured_feature_is_refused(feature, kernel):
    config = hf_tfm.TfmDecoderConfig(**SIZES, **FEATURES[feature])
    config._attn_implementation = kernel
    with pytest.raises(ValueError, match=rf"(?s){feature}.*one of: eager"):
        hf_tfm.TfmDecoderForCausalLM(config)
    model = make("decoder", **FEATURES[feature])
    with pytest.raises(ValueError, match=feature):
        model.set_attn_implementation(kernel)


@pytest.mark.parametrize(
    ("feature", "kernel"),
    [("position_type", "sdpa"), ("attn_logit_softcapping", "eager"), ("attention_sinks", "eager")],
)
def test_default_attention_supports_the_configured_features(feature, kernel):
    assert make("decoder", **FEATURES[feature]).config._attn_implementation == kernel


def test_unknown_attention_is_accepted_without_special_features():
    model = make("decoder")
    wanted = logits_of(model, ids(1, 6))
    model.set_attn_implementation("a_serving_engine")
    assert_same(logits_of(model, ids(1, 6)), wanted, 1e-5)


@pytest.mark.parametrize("architecture", ["encoder", "decoder"])
def test_packed_rows_with_a_padding_mask_are_refused(architecture):
    model = make(architecture)
    positions = torch.tensor([[0, 1, 2, 0, 1, 2]])
    with pytest.raises(ValueError, match="leave attention_mask out"):
        model(ids(1, 6), position_ids=positions, attention_mask=torch.ones(1, 6))


def test_position_ids_with_left_padding_are_not_packed_rows():
    model = make("decoder")
    mask = torch.tensor([[0, 0, 1, 1, 1, 1]])
    given = model(ids(1, 6), attention_mask=mask, position_ids=torch.tensor([[1, 1, 0, 1, 2, 3]])).logits
    assert_same(given[:, 2:], model(ids(1, 6), attention_mask=mask).logits[:, 2:], 1e-5)


@pytest.mark.parametrize("architecture", ["encoder", "decoder", "seq2seq"])
@pytest.mark.parametrize("hidden", [-torch.inf, torch.finfo(torch.float).min])
def test_additive_mask_of_two_dimensions_is_refused(architecture, hidden):
    # transformers reads every entry but 0 as a real token: such a mask would hide the real ones
    model, tokens, real = make(architecture), ids(2, 6), torch.tensor([[1.0] * 6, [1.0] * 4 + [0.0] * 2])
    additive = torch.zeros(2, 6).masked_fill(real == 0, hidden)
    names = ["attention_mask"] if architecture != "seq2seq" else ["attention_mask", "decoder_attention_mask"]
    for name in names:
        inputs = {"decoder_input_ids": tokens} if architecture == "seq2seq" else {}
        with pytest.raises(ValueError, match=r"attention_mask .* negative entries"):
            model(tokens, **inputs, **{name: additive})
        found = model(tokens, **inputs, **{name: real}).logits
        assert torch.equal(found, model(tokens, **inputs, **{name: real.long()}).logits)


def test_4d_mask_is_applied_as_given():
    model, tokens = make("encoder"), ids(2, 6)
    model.set_attn_implementation("eager")
    causal = torch.zeros(2, 1, 6, 6).masked_fill(torch.ones(6, 6).triu(1).bool(), torch.finfo(torch.float).min)
    as_tensor = logits_of(model, tokens, attention_mask=causal)
    as_dict = logits_of(model, tokens, attention_mask={"full_attention": causal})
    assert torch.equal(as_tensor, as_dict)
    assert not torch.allclose(as_tensor, logits_of(model, tokens))
    assert_same(as_tensor[:, 0], logits_of(model, tokens[:, :1])[:, 0], 1e-5, "a token that attends only to itself")


def test_last_eos_pooling_refuses_rows_without_eos():
    fields = {"pooling": "last_eos"}
    model = make("seq2seq", hf_tfm.TfmSeq2SeqForSequenceClassification, **fields)
    with pytest.raises(ValueError, match="end-of-sequence"):
        model(ids(2, 5))
    with pytest.raises(ValueError, match="eos_token_id"):
        make("decoder", hf_tfm.TfmDecoderForSequenceClassification, **fields, eos_token_id=None)


@pytest.mark.parametrize("pooling", ["first", "mean", "last_token", "late"])
@pytest.mark.parametrize("architecture", ["encoder", "decoder"])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pad", [0, None])
def test_pooling_ignores_padding(pooling, architecture, side, pad):
    head = getattr(hf_tfm, f"Tfm{architecture.title()}ForSequenceClassification")
    model = make(architecture, head, pooling=pooling, classifier_dense="pooled", pad_token_id=pad)
    tokens, filler = ids(2, 6), torch.zeros(2, 3, dtype=torch.long)
    order = slice(None, None, -1 if side == "left" else 1)
    longer = torch.cat([tokens, filler][order], 1)
    mask = torch.cat([torch.ones_like(tokens), filler][order], 1)
    assert_same(model(longer, attention_mask=mask).logits, model(tokens).logits, 1e-5, "logits")
