"""Pooling: the vector of a padded row is that of the row alone, whatever says which tokens are real."""

import pytest
import torch
from torch.nn import functional as F

import hf_tfm
from hf_tfm.modeling.head_parts import Pooler
from hf_tfm.modeling.pooling import POOLINGS
from tests.grid import SIZES, assert_same, ids, make

ROWS, LENGTH, PADDING = 3, 5, 3
EOS = SIZES["eos_token_id"]
NEW_ID = SIZES["vocab_size"]
HEADS = {
    architecture: getattr(hf_tfm, f"Tfm{name}ForSequenceClassification")
    for architecture, name in {"encoder": "Encoder", "decoder": "Decoder", "seq2seq": "Seq2Seq"}.items()
}


def rows_with_eos(seed=0):
    tokens = ids(ROWS, LENGTH, seed=seed)
    tokens[:, -1] = EOS
    return tokens


def pad(tokens, side, value):
    return F.pad(tokens, (PADDING, 0) if side == "left" else (0, PADDING), value=value)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("given", ["mask", "ids", "mask alone"])
@pytest.mark.parametrize("changed", [False, True], ids=["pad id", "changed pad id"])
def test_pooled_vector_of_states_is_that_of_the_row_alone(pooling, side, given, changed):
    if (pooling, given) == ("last_eos", "mask alone"):
        pytest.skip("it finds the token by its id")
    config = hf_tfm.TfmDecoderConfig(**SIZES, pooling=pooling, classifier_dense="pooled")
    pooler = Pooler(config)
    if changed:
        config.pad_token_id = NEW_ID
    tokens = rows_with_eos()
    states = torch.randn(ROWS, LENGTH, SIZES["hidden_size"])
    wanted = pooler(states, tokens, None)
    states = F.pad(states, (0, 0, PADDING, 0) if side == "left" else (0, 0, 0, PADDING), value=9.0)
    longer = None if given == "mask alone" else pad(tokens, side, config.pad_token_id)
    mask = None if given == "ids" else pad(torch.ones_like(tokens), side, 0)
    assert_same(pooler(states, longer, mask), wanted, 1e-6, "vectors")


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_mask_decides_where_padding_has_the_id_of_a_word(pooling):
    pooler = Pooler(hf_tfm.TfmDecoderConfig(**{**SIZES, "pad_token_id": EOS}, pooling=pooling))
    tokens, states = rows_with_eos(), torch.randn(ROWS, LENGTH, SIZES["hidden_size"])
    mask = torch.ones_like(tokens)
    wanted = pooler(states, tokens, mask)
    longer = F.pad(states, (0, 0, 0, PADDING), value=9.0)
    assert_same(pooler(longer, pad(tokens, "right", EOS), pad(mask, "right", 0)), wanted, 1e-6, "vectors")
    if pooling.startswith("last"):
        assert_same(wanted, states[:, -1], 1e-6, "the last real token, which is a word")


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("architecture", HEADS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_logits_of_padded_rows_after_the_vocabulary_grew(architecture, pooling, side):
    model = make(architecture, HEADS[architecture], pooling=pooling)
    model.resize_token_embeddings(NEW_ID + 1, mean_resizing=False)
    model.config.pad_token_id = NEW_ID
    tokens = rows_with_eos()
    longer, mask = pad(tokens, side, NEW_ID), pad(torch.ones_like(tokens), side, 0)
    with torch.no_grad():
        wanted = model(tokens).logits
        assert_same(model(longer, attention_mask=mask).logits, wanted, what="logits")
        if architecture == "decoder" and side == "right":
            # only a causal stack does not see what comes after
            assert_same(model(longer).logits, wanted, what="logits without a mask")


def test_changed_end_of_sequence_is_pooled():
    model = make("decoder", HEADS["decoder"], pooling="last_eos")
    model.config.eos_token_id = [7, 8]
    tokens = torch.tensor([[5, 7, 9, 9], [5, 9, 8, 9]])
    states = model.model(tokens).last_hidden_state
    pooled = torch.stack((states[0, 1], states[1, 2]))
    assert_same(model(tokens).logits, model.classifier(pooled), 1e-6, "logits")
    model.config.eos_token_id = None
    with pytest.raises(ValueError, match="needs eos_token_id"):
        model(tokens)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("length", [LENGTH - 2, LENGTH, LENGTH + 3])
def test_given_decoder_tokens_are_pooled_by_their_own_ids_and_mask(pooling, length):
    # pooled by the source's, tokens after its end had no influence, or did not exist
    model = make("seq2seq", HEADS["seq2seq"], pooling=pooling)
    source, target = rows_with_eos(), ids(ROWS, length, seed=1)
    target[:, -1] = EOS
    with torch.no_grad():
        wanted = model(source, decoder_input_ids=target)
        states = model.model(input_ids=source, decoder_input_ids=target).last_hidden_state
        assert_same(wanted.logits, model.classifier(model.pooler(states, target, None)), 1e-6, "logits")
        mask = pad(torch.ones_like(target), "right", 0)
        found = model(source, decoder_input_ids=pad(target, "right", 0), decoder_attention_mask=mask)
    assert_same(found.logits, wanted.logits, what="logits of the padded target")


@pytest.mark.parametrize("shift", ["start_token", "wrap_last_non_pad"])
@pytest.mark.parametrize("head", ["SequenceClassification", "QuestionAnswering"])
def test_a_source_read_by_the_decoder_may_be_padded_on_either_side(head, shift):
    model = make("seq2seq", getattr(hf_tfm, f"TfmSeq2SeqFor{head}"), decoder_shift=shift)
    tokens = rows_with_eos()
    ones = torch.ones_like(tokens)
    name = "logits" if head == "SequenceClassification" else "start_logits"
    for side in ("left", "right"):
        mask = pad(ones, side, 0)
        found = model(pad(tokens, side, 0), attention_mask=mask)[name]
        if head == "QuestionAnswering":
            found = found[mask.bool()].view(ROWS, LENGTH)
        assert_same(found, model(tokens)[name], what=f"{name}, {side}")


@pytest.mark.parametrize("target_size", [20, 80])
def test_a_source_is_not_read_by_a_decoder_with_another_vocabulary(target_size):
    fields = {"decoder_vocab_size": target_size, "tie_encoder_decoder_embeddings": False}
    model = make("seq2seq", HEADS["seq2seq"], **fields)
    with pytest.raises(ValueError, match=f"vocab_size=53 and decoder_vocab_size={target_size} differ"):
        model(ids(2, 5))
    assert model(ids(2, 5), decoder_input_ids=torch.full((2, 3), 7)).logits.shape == (2, 2)


@pytest.mark.parametrize("architecture", HEADS)
@pytest.mark.parametrize("pooling", ["first", "mean", "last_token", "late"])
def test_a_row_of_padding_has_finite_logits_and_changes_no_other(architecture, pooling):
    model, tokens = make(architecture, HEADS[architecture], pooling=pooling), ids(2, 5)
    mask = torch.tensor([[0] * 5, [1] * 5])
    with torch.no_grad():
        logits = model(tokens, attention_mask=mask).logits
        assert logits.isfinite().all()
        assert_same(logits[1:], model(tokens[1:]).logits, what="logits of the other row")


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.float32])
@pytest.mark.parametrize("pooling", ["first", "mean", "last_token", "late"])
def test_masks_of_every_dtype_mean_the_same(pooling, dtype):
    model, tokens = make("decoder", HEADS["decoder"], pooling=pooling), ids(2, 5)
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 0]])
    with torch.no_grad():
        assert_same(
            model(tokens, attention_mask=mask.to(dtype)).logits, model(tokens, attention_mask=mask).logits, 1e-6
        )


@pytest.mark.parametrize("shape", [(0, 4), (2, 0)])
def test_an_input_without_tokens_is_refused(shape):
    for architecture in HEADS:
        with pytest.raises(ValueError, match="no token"):
            make(architecture, HEADS[architecture])(torch.zeros(shape, dtype=torch.long))
