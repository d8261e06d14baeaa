"""Another library's products change no number, no name and no file."""

import copy
import pickle

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from hf_tfm.cpu_inference import OneDnn, use_onednn
from tests.grid import assert_same, ids, logits_of, make, needs_compiler

GREEDY = {"max_new_tokens": 5, "do_sample": False}


def pair(architecture="decoder", **words):
    """The same model as it was, and by oneDNN."""
    model = make(architecture, **words)
    before = copy.deepcopy(model)
    assert use_onednn(model) is model
    return before, model


@pytest.mark.parametrize("architecture", ["encoder", "decoder", "seq2seq"])
@pytest.mark.parametrize("words", [{}, {"tie_word_embeddings": False, "qkv_bias": True}])
def test_the_same_numbers_and_file(architecture, words, tmp_path):
    before, model = pair(architecture, **words)
    assert_same(logits_of(model, ids(2, 7)), logits_of(before, ids(2, 7)), 1e-5, "logits")
    assert list(model.state_dict()) == list(before.state_dict())
    assert (model.lm_head.weight is model.get_input_embeddings().weight) == (not words), "ties hold"
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert not any(isinstance(part, OneDnn) for part in again.modules())
    for name, parameter in before.named_parameters():
        assert torch.equal(again.get_parameter(name), parameter), name


def test_the_products_are_onednns():
    before, model = pair()
    assert isinstance(model.lm_head, OneDnn)
    with torch.profiler.profile() as profile, torch.inference_mode():
        model(ids(2, 7))
    ran = {event.key: event.count for event in profile.key_averages()}
    linear_maps = sum(isinstance(part, torch.nn.Linear) for part in before.modules())
    assert ran["hf_tfm::onednn_linear"] == linear_maps
    assert "aten::linear" not in ran


def test_training_is_as_before():
    for words in ({}, {"fused_loss": True}):
        found = []
        for model in pair(**words):
            model.train()
            loss = model(ids(2, 7), labels=ids(2, 7)).loss
            loss.backward()
            found.append([loss, *(weight.grad for weight in model.parameters())])
        assert all(torch.equal(*both) for both in zip(*found, strict=True))


def test_autocast_is_as_before():
    before, model = pair()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model(ids(2, 7)).logits, before(ids(2, 7)).logits)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_the_same_text(cache):
    before, model = pair()
    wanted = before.generate(ids(2, 6), cache_implementation=cache, disable_compile=True, **GREEDY)
    assert torch.equal(model.generate(ids(2, 6), cache_implementation=cache, disable_compile=True, **GREEDY), wanted)


@needs_compiler
def test_compiled_without_constants():
    before, model = pair()
    compiled = torch.compile(model, fullgraph=True)
    with torch.no_grad():
        assert_same(compiled(ids(2, 7)).logits, before(ids(2, 7)).logits, 1e-5, "logits")


def test_native_models_too():
    size = {"vocab_size": 50, "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    native = LlamaForCausalLM(LlamaConfig(**size, intermediate_size=24)).eval()
    with torch.no_grad():
        wanted = native(ids(2, 7) % 50).logits
        assert_same(use_onednn(native)(ids(2, 7) % 50).logits, wanted, 1e-5, "logits")


def test_models_whose_code_came_with_them(tmp_path):
    model = make("decoder")
    model.save_pretrained(tmp_path)
    kind = get_class_from_dynamic_module("modeling_tfm_decoder.TfmDecoderForCausalLM", tmp_path)
    stranger = use_onednn(kind.from_pretrained(tmp_path))
    assert isinstance(stranger.lm_head, OneDnn)
    assert_same(logits_of(stranger, ids(2, 7)), logits_of(model, ids(2, 7)), 1e-5, "logits")
    losses = [one(ids(2, 7), labels=ids(2, 7), fused_loss=True).loss for one in (stranger, model)]
    assert torch.equal(*losses)


def test_copies_and_pickles():
    _, model = pair()
    with torch.no_grad():
        wanted = model(ids(2, 7)).logits
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert isinstance(other.lm_head, OneDnn)
            assert torch.equal(other(ids(2, 7)).logits, wanted)


def test_other_weights_are_refused_and_nothing_is_changed():
    model = make("decoder")
    model.lm_head.to(torch.bfloat16)
    with pytest.raises(ValueError, match=r"float32 weights on a CPU, not torch\.bfloat16 on cpu"):
        use_onednn(model)
    assert not any(isinstance(part, OneDnn) for part in model.modules())


def test_a_torch_without_onednn_is_refused(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with pytest.raises(ValueError, match="built without oneDNN"):
        use_onednn(make("decoder"))
