"""The text-embedding heads: one vector of unit length per text, which AutoModel opens."""

import pytest
import torch
import transformers
from transformers import AutoModel

import hf_tfm
from hf_tfm.modeling.pooling import POOLINGS
from tests.grid import assert_same, ids, make

HEADS = {"encoder": hf_tfm.TfmEncoderForTextEmbedding, "decoder": hf_tfm.TfmDecoderForTextEmbedding}
POOLINGS_OF_TEXT = [pooling for pooling in POOLINGS if pooling != "last_eos"]


@pytest.mark.parametrize("architecture", HEADS)
@pytest.mark.parametrize("pooling", POOLINGS_OF_TEXT)
@pytest.mark.parametrize("classifier_dense", ["none", "pooled", "embedding"])
def test_embedding_is_the_pooled_vector_with_unit_length(architecture, pooling, classifier_dense):
    fields = {"pooling": pooling, "classifier_dense": classifier_dense}
    model = make(architecture, HEADS[architecture], **fields)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    tokens = ids(2, 5).masked_fill(mask == 0, 0)
    output = model(tokens, attention_mask=mask)
    assert_same(output.pooler_output.norm(dim=-1), torch.ones(2), 1e-6, "length")

    states = model.model(tokens, attention_mask=mask).last_hidden_state
    pooler = model.model.pooler if architecture == "encoder" else model.pooler
    assert bool(list(pooler.parameters())) == (classifier_dense == "embedding")
    wanted = pooler(states, tokens, mask)
    assert_same(output.pooler_output, wanted / wanted.norm(dim=-1, keepdim=True), 1e-6, "embedding")
    assert_same(output.last_hidden_state, states, 1e-6, "hidden states")
    shorter = model(tokens[1:, :3]).pooler_output
    assert_same(output.pooler_output[1:], shorter, 1e-5, "embedding of the padded text")


@pytest.mark.parametrize("architecture", HEADS)
def test_auto_model_opens_the_head_and_other_auto_classes_open_theirs(architecture, tmp_path):
    model = make(architecture, HEADS[architecture], classifier_dense="embedding")
    model.save_pretrained(tmp_path)
    opened = AutoModel.from_pretrained(tmp_path)
    assert type(opened) is HEADS[architecture]
    assert_same(opened(ids(2, 5)).pooler_output, model(ids(2, 5)).pooler_output, 1e-6, "embedding")
    language_head = {"encoder": "AutoModelForMaskedLM", "decoder": "AutoModelForCausalLM"}[architecture]
    other = getattr(transformers, language_head).from_pretrained(tmp_path)
    assert torch.equal(other.model.embed_tokens.weight, model.model.embed_tokens.weight)
    reference = model.config.auto_map["AutoModel"]
    assert reference.endswith(HEADS[architecture].__name__), "readers without the package open the head too"


@pytest.mark.parametrize("architecture", HEADS)
def test_head_starts_from_a_checkpoint_without_a_head(architecture, tmp_path):
    base = make(architecture, getattr(hf_tfm, f"Tfm{architecture.title()}Model"))
    base.save_pretrained(tmp_path)
    model = HEADS[architecture].from_pretrained(tmp_path)
    assert_same(model(ids(2, 5)).last_hidden_state, base(ids(2, 5)).last_hidden_state, 1e-6, "hidden states")
    opened = AutoModel.from_pretrained(tmp_path)
    assert type(opened) is type(base), "a checkpoint without the head opens without it"


@pytest.mark.parametrize("architecture", HEADS)
def test_gradients_reach_every_weight(architecture):
    model = make(architecture, HEADS[architecture], classifier_dense="embedding").train()
    first, second = (model(ids(2, 5, seed=seed)).pooler_output for seed in (0, 1))
    (first * second).sum().backward()
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not missing, f"no gradient reaches {missing}"


@pytest.mark.parametrize("architecture", HEADS)
def test_auto_model_opens_other_checkpoints_as_before_when_it_has_opened_an_embedding(
    architecture, tmp_path, monkeypatch
):
    language_model = make(architecture)
    language_model.save_pretrained(tmp_path)
    # transformers registers what it opened by the code of a checkpoint for all others with the same code
    monkeypatch.setitem(AutoModel._model_mapping._extra_content, type(language_model.config), HEADS[architecture])
    assert type(AutoModel.from_pretrained(tmp_path)) is type(language_model.model)
