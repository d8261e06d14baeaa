"""Attentions, cross-attentions and hidden states, recorded by declaration."""

import pytest
import torch

import hf_tfm
from tests.grid import SIZES, TRUNKS, assert_same, ids, make

LAYERS = SIZES["num_hidden_layers"]


def recorded(architecture, **words):
    model = make(architecture, **words)
    model.set_attn_implementation("eager")
    inputs = {"decoder_input_ids": ids(2, 5, seed=1)} if architecture == "seq2seq" else {}
    with torch.no_grad():
        return model, model(ids(2, 7), output_attentions=True, output_hidden_states=True, **inputs)


@pytest.mark.parametrize("architecture", TRUNKS)
def test_attention_maps_have_one_row_of_weights_per_token(architecture):
    _, output = recorded(architecture)
    heads = SIZES["num_attention_heads"]
    joined = {"encoder_attentions": (7, 7), "decoder_attentions": (5, 5), "cross_attentions": (5, 7)}
    maps = joined if architecture == "seq2seq" else {"attentions": (7, 7)}
    for name, size in maps.items():
        assert [tuple(a.shape) for a in output[name]] == [(2, heads, *size)] * LAYERS, name
        for weights in output[name]:
            assert_same(weights.sum(-1), torch.ones(2, heads, size[0]), 1e-5, f"sums of {name}")


def test_sinks_take_their_share_of_the_weights():
    _, output = recorded("decoder", attention_sinks=True)
    assert all((weights.sum(-1) < 1).all() for weights in output.attentions)


@pytest.mark.parametrize("architecture", TRUNKS)
@pytest.mark.parametrize("wiring", ["pre", "post"])
def test_hidden_states_begin_with_the_embeddings_and_end_with_the_output(architecture, wiring):
    model, output = recorded(architecture, residual_type=wiring)
    states = output.encoder_hidden_states if architecture == "seq2seq" else output.hidden_states
    trunk = model.model.encoder if architecture == "seq2seq" else model.model
    assert len(states) == LAYERS + 1
    assert_same(states[0], model.get_input_embeddings()(ids(2, 7)), 1e-6, "first hidden state")
    with torch.no_grad():
        assert_same(states[-1], trunk(ids(2, 7)).last_hidden_state, 1e-5, "last hidden state")


def test_nothing_is_recorded_unasked():
    with torch.no_grad():
        output = make("decoder")(ids(2, 7))
    assert output.get("attentions") is None
    assert output.get("hidden_states") is None


def test_the_configuration_can_ask_too():
    model = make("encoder", output_hidden_states=True)
    assert len(model(ids(2, 7)).hidden_states) == LAYERS + 1


def test_a_pooling_trunk_returns_what_its_classifier_reads():
    words = {"add_pooling_layer": True, "classifier_dense": "pooled"}
    trunk = make("encoder", hf_tfm.TfmEncoderModel, **words)
    output = trunk(ids(2, 7))
    pooled = torch.tanh(trunk.pooler.transform.dense(output.last_hidden_state[:, 0]))
    assert_same(output.pooler_output, pooled, 1e-6)
    assert make("encoder", hf_tfm.TfmEncoderModel)(ids(2, 7)).pooler_output is None


def test_late_pooling_is_the_mean_of_what_the_dense_layer_says_of_each_token():
    trunk = make("encoder", hf_tfm.TfmEncoderModel, add_pooling_layer=True, classifier_dense="pooled", pooling="late")
    output = trunk(ids(2, 7))
    assert_same(
        output.pooler_output, torch.tanh(trunk.pooler.token_transform.dense(output.last_hidden_state)).mean(1), 1e-6
    )
