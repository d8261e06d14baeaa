"""Linear maps computed by oneDNN change no output, no parameter name and no saved file."""

import copy
import pickle

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from hf_tfm.cpu_inference import OneDnnLinear, use_onednn
from tests.grid import assert_same, ids, logits_of, make, needs_compiler

GREEDY = {"max_new_tokens": 5, "do_sample": False}


def plain_and_onednn(architecture="decoder", **fields):
    """The same model before and after `use_onednn`."""
    model = make(architecture, **fields)
    before = copy.deepcopy(model)
    assert use_onednn(model) is model
    return before, model


@pytest.mark.parametrize("architecture", ["encoder", "decoder", "seq2seq"])
@pytest.mark.parametrize("fields", [{}, {"tie_word_embeddings": False, "qkv_bias": True}])
def test_logits_parameters_and_saved_files_are_unchanged(architecture, fields, tmp_path):
    before, model = plain_and_onednn(architecture, **fields)
    assert_same(logits_of(model, ids(2, 7)), logits_of(before, ids(2, 7)), 1e-5, "logits")
    assert list(model.state_dict()) == list(before.state_dict())
    assert (model.lm_head.weight is model.get_input_embeddings().weight) == (not fields), "ties hold"
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert not any(isinstance(part, OneDnnLinear) for part in again.modules())
    for name, parameter in before.named_parameters():
        assert torch.equal(again.get_parameter(name), parameter), name


def test_every_linear_map_runs_in_onednn():
    before, model = plain_and_onednn()
    assert isinstance(model.lm_head, OneDnnLinear)
    with torch.profiler.profile() as profile, torch.inference_mode():
        model(ids(2, 7))
    calls = {event.key: event.count for event in profile.key_averages()}
    linear_maps = sum(isinstance(part, torch.nn.Linear) for part in before.modules())
    assert calls["hf_tfm::onednn_linear"] == linear_maps
    assert "aten::linear" not in calls


def test_training_is_unchanged():
    for fields in ({}, {"fused_loss": True}):
        found = []
        for model in plain_and_onednn(**fields):
            model.train()
            loss = model(ids(2, 7), labels=ids(2, 7)).loss
            loss.backward()
            found.append([loss, *(weight.grad for weight in model.parameters())])
        assert all(torch.equal(*both) for both in zip(*found, strict=True))


def test_autocast_is_unchanged():
    before, model = plain_and_onednn()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model(ids(2, 7)).logits, before(ids(2, 7)).logits)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_generated_text_is_unchanged(cache):
    before, model = plain_and_onednn()
    wanted = before.generate(ids(2, 6), cache_implementation=cache, disable_compile=True, **GREEDY)
    assert torch.equal(model.generate(ids(2, 6), cache_implementation=cache, disable_compile=True, **GREEDY), wanted)


@needs_compiler
def test_compiled_model_equals_eager():
    before, model = plain_and_onednn()
    compiled = torch.compile(model, fullgraph=True)
    with torch.no_grad():
        assert_same(compiled(ids(2, 7)).logits, before(ids(2, 7)).logits, 1e-5, "logits")


def test_native_transformers_models_are_supported():
    size = {"vocab_size": 50, "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    native = LlamaForCausalLM(LlamaConfig(**size, intermediate_size=24)).eval()
    with torch.no_grad():
        wanted = native(ids(2, 7) % 50).logits
        assert_same(use_onednn(native)(ids(2, 7) % 50).logits, wanted, 1e-5, "logits")


def test_models_loaded_with_remote_code_are_supported(tmp_path):
    model = make("decoder")
    model.save_pretrained(tmp_path)
    remote_class = get_class_from_dynamic_module("modeling_tfm_decoder.TfmDecoderForCausalLM", tmp_path)
    remote = use_onednn(remote_class.from_pretrained(tmp_path))
    assert isinstance(remote.lm_head, OneDnnLinear)
    assert_same(logits_of(remote, ids(2, 7)), logits_of(model, ids(2, 7)), 1e-5, "logits")
    losses = [one(ids(2, 7), labels=ids(2, 7), fused_loss=True).loss for one in (remote, model)]
    assert torch.equal(*losses)


def test_copied_and_pickled_models_keep_onednn():
    _, model = plain_and_onednn()
    with torch.no_grad():
        wanted = model(ids(2, 7)).logits
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert isinstance(other.lm_head, OneDnnLinear)
            assert torch.equal(other(ids(2, 7)).logits, wanted)


def test_other_dtypes_are_refused_and_nothing_is_changed():
    model = make("decoder")
    model.lm_head.to(torch.bfloat16)
    with pytest.raises(ValueError, match=r"float32 weights on a CPU, not torch\.bfloat16 on cpu"):
        use_onednn(model)
    assert not any(isinstance(part, OneDnnLinear) for part in model.modules())


def test_a_torch_without_onednn_is_refused(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with pytest.raises(ValueError, match="built without oneDNN"):
        use_onednn(make("decoder"))
