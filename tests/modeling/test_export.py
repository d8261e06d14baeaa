"""Export with transformers' exporter: a graph traced at one shape equals the model at another shape."""

import copy

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)
from transformers.exporters.exporter_dynamo import DynamoConfig, DynamoExporter
from transformers.exporters.utils import decompose_for_generation

from hf_tfm.modeling.block import WIRINGS
from hf_tfm.modeling.position import POSITIONS
from tests.grid import LANGUAGE_MODELS, SIZES, assert_same, ids, make

DYNAMIC = DynamoConfig(dynamic=True)
# an exported graph computes padding too; without unpadding, the model's padding can be compared as well
TINY = {"num_hidden_layers": 2, "padding_free": False}


def prompt(rows, length, pads=2):
    """Token ids; the first row is padded on the left."""
    mask = torch.ones(rows, length, dtype=torch.long)
    mask[0, :pads] = 0
    return {"input_ids": ids(rows, length), "attention_mask": mask}


def inputs_of(model, rows, length, targets):
    """A prompt; an encoder-decoder gets `targets` decoder tokens too."""
    inputs = prompt(rows, length)
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids(rows, targets, seed=3)
    return inputs


def assert_exported_equals(model, **settings):
    """Exported with 2 rows of 9 tokens, the model's logits for 3 rows of 13 are the same."""
    exported = DynamoExporter().export(model, {**inputs_of(model, 2, 9, 6), **settings}, config=DYNAMIC)
    inputs = {**inputs_of(model, 3, 13, 8), **settings}
    with torch.no_grad():
        wanted = model(**inputs).logits
    assert_same(exported(**inputs).logits, wanted, what="exported logits")


def starting_at(names, start):
    """The names in order, from number `start` on and around: other pairs of two registries for each architecture."""
    names = list(names)
    return names[start % len(names) :] + names[: start % len(names)]


@pytest.mark.parametrize(
    ("architecture", "position", "wiring"),
    [
        (architecture, position, wiring)
        for number, architecture in enumerate(LANGUAGE_MODELS)
        for position, wiring in zip(POSITIONS, starting_at(WIRINGS, 2 * number), strict=False)
    ],
)
def test_exported_model_equals_eager(architecture, position, wiring):
    model = make(architecture, position_type=position, residual_type=wiring, **TINY)
    assert_exported_equals(model)


@pytest.mark.parametrize(
    ("architecture", "fields"),
    [
        ("encoder", {"sliding_window": 3, "layer_types": ["sliding_attention", "full_attention"]}),
        ("decoder", {"mlp_type": "moe", "num_key_value_heads": 2, "sliding_window": 4}),
        ("decoder", {"attention_sinks": True, "attn_logit_softcapping": 2.0}),
        pytest.param("seq2seq", {"mlp_type": "moe"}, marks=pytest.mark.grid),
        pytest.param("seq2seq", {"sliding_window": 4, "attention_sinks": True}, marks=pytest.mark.grid),
    ],
    ids=str,
)
def test_exported_windows_experts_and_sinks_equal_eager(architecture, fields):
    assert_exported_equals(make(architecture, **fields, **TINY))


def test_saved_export_runs_without_the_model(tmp_path):
    model = make("encoder", **TINY)
    exported = DynamoExporter().export(model, inputs_of(model, 2, 9, 6), config=DYNAMIC)
    exported.save_pretrained(tmp_path)
    inputs = inputs_of(model, 3, 13, 8)
    with torch.no_grad():
        wanted = model(**inputs).logits
    assert_same(type(exported).from_pretrained(tmp_path)(**inputs).logits, wanted, what="loaded export")


def assert_stages_equal(model, cache):
    """The exported prefill and decoding steps equal the model's, at another shape if the cache allows one."""
    model.generation_config.eos_token_id = None
    settings = None
    if cache == "static":
        settings = GenerationConfig(cache_implementation="static", do_sample=False)
        settings.max_cache_len = 24
    # Two limits of transformers, for Mistral and Gemma-2 too: an exported graph fixes the lengths of static and sliding
    # caches, and an exported decoding step over a dynamic sliding cache takes padding for tokens.
    slides = getattr(model.config, "sliding_window", None) is not None
    pads = 0 if slides and cache == "dynamic" else 2
    shape = (2, 7) if slides or cache == "static" else (3, 11)
    traced = prompt(2, 7, pads)
    exported = DynamoExporter().export_for_generation(model, traced, config=DYNAMIC, generation_config=settings)
    assert list(exported.components) == ["prefill", "decode"]
    for name, (stage, inputs) in decompose_for_generation(model, prompt(*shape, pads), settings).items():
        with torch.no_grad():
            wanted = stage(**copy.deepcopy(inputs)).logits
        known = exported.components[name].metadata.kwargs
        given = {key: value for key, value in copy.deepcopy(inputs).items() if key in known}
        assert_same(exported.runners[name](**given).logits, wanted, what=f"logits of {name}")


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize(
    ("architecture", "fields"),
    [
        ("decoder", {"position_type": "alibi"}),
        ("decoder", {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}),
        ("seq2seq", {"position_type": "relative_bias"}),
        pytest.param("decoder", {"mlp_type": "moe"}, marks=pytest.mark.grid),
        pytest.param("seq2seq", {"sliding_window": 4}, marks=pytest.mark.grid),
    ],
    ids=str,
)
def test_exported_prefill_and_decoding_equal_eager(architecture, fields, cache):
    assert_stages_equal(make(architecture, **fields, **TINY), cache)


def make_native(family):
    """A tiny model of a family of transformers."""
    common = {"vocab_size": SIZES["vocab_size"], "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    if family == "llama":
        return LlamaForCausalLM(LlamaConfig(**sizes, num_hidden_layers=2, **common)).eval()
    if family == "mistral":
        return MistralForCausalLM(MistralConfig(**sizes, num_hidden_layers=2, **common, sliding_window=4)).eval()
    stacks = {
        f"{stack}_{name}": size
        for stack in ("encoder", "decoder")
        for name, size in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 48))
    }
    config = BartConfig(d_model=32, **stacks, **common, decoder_start_token_id=2, forced_eos_token_id=None)
    return BartForConditionalGeneration(config).eval()


@pytest.mark.grid
@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("family", ["llama", "mistral", "bart"])
def test_transformers_exports_its_own_families_for_generation(family, cache):
    # control: if this fails too, the cause is the exporter
    assert_stages_equal(make_native(family), cache)
