"""output_attentions, output_hidden_states and pooler_output."""

import pytest
import torch

import hf_tfm
from tests.grid import LANGUAGE_MODELS, SIZES, assert_same, ids, make

LAYERS = SIZES["num_hidden_layers"]


def record(architecture, **fields):
    """The model, and its output with attentions and hidden states."""
    model = make(architecture, **fields)
    model.set_attn_implementation("eager")
    inputs = {"decoder_input_ids": ids(2, 5, seed=1)} if architecture == "seq2seq" else {}
    with torch.no_grad():
        return model, model(ids(2, 7), output_attentions=True, output_hidden_states=True, **inputs)


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_attention_weights_have_one_row_per_query_that_sums_to_one(architecture):
    _, output = record(architecture)
    heads = SIZES["num_attention_heads"]
    encoder_decoder = {"encoder_attentions": (7, 7), "decoder_attentions": (5, 5), "cross_attentions": (5, 7)}
    sizes = encoder_decoder if architecture == "seq2seq" else {"attentions": (7, 7)}
    for name, size in sizes.items():
        assert [tuple(a.shape) for a in output[name]] == [(2, heads, *size)] * LAYERS, name
        for weights in output[name]:
            assert_same(weights.sum(-1), torch.ones(2, heads, size[0]), 1e-5, f"sums of {name}")


def test_attention_weights_with_sinks_sum_to_less_than_one():
    _, output = record("decoder", attention_sinks=True)
    assert all((weights.sum(-1) < 1).all() for weights in output.attentions)


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
@pytest.mark.parametrize("wiring", ["pre", "post"])
def test_hidden_states_start_with_embeddings_and_end_with_the_output(architecture, wiring):
    model, output = record(architecture, residual_type=wiring)
    states = output.encoder_hidden_states if architecture == "seq2seq" else output.hidden_states
    stack = model.model.encoder if architecture == "seq2seq" else model.model
    assert len(states) == LAYERS + 1
    assert_same(states[0], model.get_input_embeddings()(ids(2, 7)), 1e-6, "first hidden state")
    with torch.no_grad():
        assert_same(states[-1], stack(ids(2, 7)).last_hidden_state, 1e-5, "last hidden state")


def test_nothing_is_recorded_by_default():
    with torch.no_grad():
        output = make("decoder")(ids(2, 7))
    assert output.get("attentions") is None
    assert output.get("hidden_states") is None


def test_output_hidden_states_can_be_set_in_the_configuration():
    model = make("encoder", output_hidden_states=True)
    assert len(model(ids(2, 7)).hidden_states) == LAYERS + 1


def test_pooler_output_is_the_input_of_the_classifier():
    fields = {"add_pooling_layer": True, "classifier_dense": "pooled"}
    model = make("encoder", hf_tfm.TfmEncoderModel, **fields)
    output = model(ids(2, 7))
    pooled = torch.tanh(model.pooler.transform.dense(output.last_hidden_state[:, 0]))
    assert_same(output.pooler_output, pooled, 1e-6)
    assert make("encoder", hf_tfm.TfmEncoderModel)(ids(2, 7)).pooler_output is None


def test_late_pooling_is_the_mean_of_the_dense_layer_over_tokens():
    model = make("encoder", hf_tfm.TfmEncoderModel, add_pooling_layer=True, classifier_dense="pooled", pooling="late")
    output = model(ids(2, 7))
    assert_same(
        output.pooler_output, torch.tanh(model.pooler.token_transform.dense(output.last_hidden_state)).mean(1), 1e-6
    )
