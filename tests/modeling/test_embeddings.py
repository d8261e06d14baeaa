"""Token embeddings: weight tying, resizing, token types, `inputs_embeds`, and inputs that are refused."""

import itertools

import pytest
import torch
from transformers import AutoModel

import hf_tfm
from tests.grid import LANGUAGE_MODELS, SIZES, assert_same, ids, logits_of, make

TIE_CHOICES = list(itertools.product([True, False], repeat=2))


def weight_pointers(model):
    """Memory addresses of the weights of the encoder's embedding, the decoder's embedding and the head."""
    base_model = model.model
    stacks = [base_model.encoder, base_model.decoder] if hasattr(base_model, "encoder") else [base_model]
    return [module.weight.data_ptr() for module in (*(stack.embed_tokens for stack in stacks), model.lm_head)]


def assert_ties(model, tie_head, tie_stacks=True):
    *embeddings, head = weight_pointers(model)
    assert (head == embeddings[-1]) == tie_head, "head and its input embedding"
    if len(embeddings) == 2:
        assert (embeddings[0] == embeddings[1]) == tie_stacks, "embeddings of encoder and decoder"


@pytest.mark.parametrize("architecture", ["encoder", "decoder"])
@pytest.mark.parametrize("tied", [True, False])
def test_ties_survive_saving_loading_and_resizing(architecture, tied, tmp_path):
    model = make(architecture, tie_word_embeddings=tied, embedding_scale=2.0)
    assert_ties(model, tied)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert_ties(loaded, tied)
    before = logits_of(loaded, ids(1, 5))
    loaded.resize_token_embeddings(60)
    assert_ties(loaded, tied)
    assert loaded.config.vocab_size == 60
    after = logits_of(loaded, ids(1, 5))
    assert after.shape[-1] == 60
    assert_same(after[..., : SIZES["vocab_size"]], before, 1e-6, "logits of the old tokens")


@pytest.mark.parametrize(("tie_head", "tie_stacks"), TIE_CHOICES)
def test_each_tie_of_an_encoder_decoder_is_independent(tie_head, tie_stacks, tmp_path):
    model = make("seq2seq", tie_word_embeddings=tie_head, tie_encoder_decoder_embeddings=tie_stacks)
    assert_ties(model, tie_head, tie_stacks)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert_ties(loaded, tie_head, tie_stacks)
    before = logits_of(loaded, ids(1, 5))
    assert torch.equal(before, logits_of(model, ids(1, 5)))
    loaded.resize_token_embeddings(60)
    assert_ties(loaded, tie_head, tie_stacks)
    assert (loaded.config.vocab_size, loaded.config.decoder_vocab_size) == (60, 60)
    assert_same(logits_of(loaded, ids(1, 5))[..., : SIZES["vocab_size"]], before, 1e-6, "logits of the old tokens")
    loaded.save_pretrained(tmp_path / "resized")
    again = type(model).from_pretrained(tmp_path / "resized")
    assert torch.equal(logits_of(again, ids(1, 5)), logits_of(loaded, ids(1, 5)))


def test_two_vocabularies_work_and_resizing_them_is_refused():
    model = make("seq2seq", decoder_vocab_size=31, tie_encoder_decoder_embeddings=False)
    inputs = {"decoder_input_ids": ids(1, 4) % 31}
    assert logits_of(model, ids(1, 5), **inputs).shape == (1, 4, 31)
    with pytest.raises(ValueError, match="cannot tell which one"):
        model.resize_token_embeddings(60)


def test_decoder_may_differ_from_the_encoder_in_every_size():
    model = make(
        "seq2seq",
        decoder_hidden_size=48,
        decoder_layers=2,
        decoder_attention_heads=6,
        decoder_num_key_value_heads=3,
        decoder_intermediate_size=40,
        tie_encoder_decoder_embeddings=False,
        mlp_type="gated",
    )
    assert logits_of(model, ids(2, 5)).shape == (2, 6, SIZES["vocab_size"])


def test_encoder_model_loads_from_an_encoder_decoder_checkpoint(tmp_path):
    model = make("seq2seq")
    model.save_pretrained(tmp_path)
    encoder, report = hf_tfm.TfmSeq2SeqEncoderModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    with torch.no_grad():
        wanted = model.model.encoder(ids(2, 5)).last_hidden_state
        assert torch.equal(encoder(ids(2, 5)).last_hidden_state, wanted)


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_base_model_and_language_model_share_state_dict_keys(architecture, tmp_path):
    model = make(architecture)
    model.save_pretrained(tmp_path / "head")
    base_model, report = AutoModel.from_pretrained(tmp_path / "head", output_loading_info=True)
    assert not report["missing_keys"]
    base_model.save_pretrained(tmp_path / "base_model")
    again, report = type(model).from_pretrained(tmp_path / "base_model", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert torch.equal(logits_of(again, ids(1, 5)), logits_of(model, ids(1, 5)))


def test_token_types_change_logits_and_are_refused_without_type_vocab_size():
    model = make("encoder", type_vocab_size=2)
    tokens, types = ids(2, 5), torch.tensor([[0, 0, 1, 1, 1]]).expand(2, -1)
    assert torch.equal(logits_of(model, tokens), logits_of(model, tokens, token_type_ids=torch.zeros_like(tokens)))
    assert not torch.equal(logits_of(model, tokens), logits_of(model, tokens, token_type_ids=types))
    for architecture, head in (("encoder", None), ("decoder", hf_tfm.TfmDecoderForSequenceClassification)):
        with pytest.raises(ValueError, match="token types"):
            make(architecture, head)(tokens, token_type_ids=types)


def test_inputs_embeds_are_not_scaled_again():
    model, tokens = make("decoder", embedding_scale=3.0), ids(1, 5)
    embeds = model.get_input_embeddings()(tokens)
    assert_same(embeds, 3.0 * model.model.embed_tokens.weight[tokens], 1e-6)
    with torch.no_grad():
        assert torch.equal(model(inputs_embeds=embeds).logits, model(tokens).logits)


def test_each_stack_has_its_own_embedding_scale():
    for given, scale in ((None, 3.0), (2.0, 2.0), (1.0, 1.0)):
        model, tokens = make("seq2seq", embedding_scale=3.0, decoder_embedding_scale=given).model, ids(1, 5)
        for stack, factor in ((model.encoder, 3.0), (model.decoder, scale)):
            assert_same(stack.embed_tokens(tokens), factor * stack.embed_tokens.weight[tokens], 1e-6)


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_exactly_one_of_input_ids_and_inputs_embeds_is_required(architecture):
    model = make(architecture)
    with pytest.raises(ValueError, match="exactly one"):
        model(**({"decoder_input_ids": ids(1, 3)} if architecture == "seq2seq" else {}))
    with pytest.raises(ValueError, match="exactly one"):
        model(input_ids=ids(1, 3), inputs_embeds=torch.zeros(1, 3, 32))


def test_encoder_decoder_without_decoder_input_names_what_is_missing():
    with pytest.raises(ValueError, match="exactly one of \\(decoder_\\)input_ids"):
        make("seq2seq")(input_ids=ids(1, 3))
    model = make("seq2seq", hf_tfm.TfmSeq2SeqForSequenceClassification, bos_token_id=None, pad_token_id=None)
    with pytest.raises(ValueError, match="decoder_start_token_id is not set"):
        model(ids(1, 3))
