"""Every field of every configuration, one at a time, with values that mean nothing: refused by name, or harmless."""

import json
import math
import time
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForCausalLM

import hf_tfm
from hf_tfm.modeling.field_values import MAX_LAYERS, MAX_WIDTH
from hf_tfm.modeling.position import RelativeBiasPosition
from tests.grid import LANGUAGE_MODELS, ids

REFUSALS = (ValueError, StrictDataclassError)
TINY: dict[str, Any] = {
    "vocab_size": 13,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 16,
    "pad_token_id": 0,
    "eos_token_id": 2,
}
# beginning of a field's name -> what makes the models read it, where the configuration always has the field
READ_WITH = {
    "max_position": {"position_type": "learned"},
    "activation_dropout": {"mlp_type": "plain"},
    "decoder": {"tie_encoder_decoder_embeddings": False},
}
VALUES = [0, -1, math.nan, math.inf, -math.inf, 10**12, 10**400, True, 2.5, "0.1", {1}, [], np.int64(3)]
ARCHITECTURES = list(LANGUAGE_MODELS)


def tiny(architecture, name):
    """(configuration class, fields of a tiny configuration whose models read the field `name`)."""
    config_class = LANGUAGE_MODELS[architecture][0]
    context = {key: value for start, more in READ_WITH.items() if name.startswith(start) for key, value in more.items()}
    conditions = next((item.metadata for item in fields(config_class) if item.name == name), {}).get("only_with", {})
    choices = {choice: values if isinstance(values, str) else values[0] for choice, values in conditions.items()}
    return config_class, {**TINY, **context, **choices}


def model_class(architecture, name):
    """A head that reads the field."""
    if name.startswith(("classifier", "pooling", "head_dense", "problem", "id2label", "label2id", "num_labels")):
        return getattr(hf_tfm, f"Tfm{architecture.title()}ForSequenceClassification")
    return LANGUAGE_MODELS[architecture][1]


def make_or_refuse(config_class, context, name, value):
    """The configuration, or None where it is refused by the name of the field; either within a second."""
    start, config, refusal = time.process_time(), None, name
    try:
        config = config_class(**{**context, name: value})
    except REFUSALS as error:
        refusal = str(error)
    assert name in refusal, f"{name}={value!r} is refused without its name"
    assert time.process_time() - start < 1, f"{name}={value!r} took too long"
    return config


def train_a_step(model):
    """Loss and gradients of one step; each must be finite, and the gradients must not all be zero."""
    tokens = ids(2, 5).clamp(max=12)
    is_classifier = "SequenceClassification" in type(model).__name__
    loss = model(input_ids=tokens, labels=torch.tensor([0, 0]) if is_classifier else tokens, return_dict=True).loss
    loss.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)


def assert_written_and_read_alike(config):
    """What `save_pretrained` writes is read as the same configuration."""
    read = type(config).from_dict(json.loads(config.to_json_string()))
    assert read.to_diff_dict() == config.to_diff_dict()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_value_of_every_field_is_refused_by_name_or_trains(architecture):
    names = [field.name for field in fields(LANGUAGE_MODELS[architecture][0])]
    for name in [*names, "num_labels"]:
        config_class, context = tiny(architecture, name)
        for value in VALUES:
            config = make_or_refuse(config_class, context, name, value)
            if config is not None:
                assert_written_and_read_alike(config)
            if config is not None and getattr(config, name) != getattr(config_class(**context), name):
                train_a_step(model_class(architecture, name)(config))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_field_changed_later_is_refused_before_it_is_written_or_is_read_alike(architecture):
    config_class = LANGUAGE_MODELS[architecture][0]
    config = config_class(**TINY)
    for name in [field.name for field in fields(config_class) if field.name != "hf_tfm_version"]:
        for value in VALUES:
            try:
                setattr(config, name, value)
                changed, config = config, config_class(**TINY)
                changed.validate()
            except REFUSALS:
                continue
            assert_written_and_read_alike(changed)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("depth", [MAX_LAYERS + 1, 10**9])
def test_enormous_configuration_ends_at_once_with_the_limit(architecture, depth):
    config_class, start = LANGUAGE_MODELS[architecture][0], time.process_time()
    with pytest.raises(REFUSALS, match=rf"num_hidden_layers(?s:.)*at most {MAX_LAYERS}, got {depth}"):
        config_class(**TINY | {"num_hidden_layers": depth})
    with pytest.raises(REFUSALS, match=f"num_labels must be an integer from 1 to {MAX_WIDTH}"):
        config_class(**TINY, num_labels=depth * 1000)
    if architecture == "decoder":
        # its layer types are computed from the depth
        with pytest.raises(REFUSALS, match="num_hidden_layers"):
            config_class.recipe("gemma2", num_hidden_layers=depth)
    assert time.process_time() - start < 1


def bucket_rows(num_buckets, max_distance, is_causal):
    """Rows of the table for distances up to a million on both sides, or None where the formula has no value."""
    config = SimpleNamespace(
        relative_attention_num_buckets=num_buckets,
        relative_attention_max_distance=max_distance,
        num_attention_heads=1,
        layer_types=["full_attention"],
    )
    far = torch.tensor([100, 1000, 1_000_000])
    near = torch.arange(-50, 51)
    try:
        return RelativeBiasPosition(config, is_causal).buckets(torch.cat((-far.flip(0), near, far)))
    except (ZeroDivisionError, ValueError):
        return None


@pytest.mark.parametrize("is_causal", [True, False])
def test_buckets_are_refused_exactly_where_their_formula_leaves_the_table(is_causal):
    for num_buckets in range(1, 34):
        for max_distance in range(1, 34):
            config = SimpleNamespace(
                relative_attention_num_buckets=num_buckets, relative_attention_max_distance=max_distance
            )
            try:
                RelativeBiasPosition.check(config, "", is_causal)
                accepted = True
            except ValueError:
                accepted = False
            rows = bucket_rows(num_buckets, max_distance, is_causal)
            legal = rows is not None and rows.min() >= 0 and rows.max() < num_buckets
            assert accepted == legal, (num_buckets, max_distance)


LONG: dict[str, Any] = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "original_max_position_embeddings": 8,
    "factor": 2.0,
}
LLAMA3: dict[str, Any] = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 2.0,
    "original_max_position_embeddings": 8,
}
# rotary parameters, and the size of a head, that give no frequencies
NO_FREQUENCIES = [
    (None, 5),
    ({"rope_type": "proportional"}, 5),
    ({"rope_type": "proportional", "partial_rotary_factor": 0.1}, 4),
    ({"partial_rotary_factor": 0.75, "rope_theta": 1e4}, 4),
    ({"partial_rotary_factor": 0.0, "rope_theta": 1e4}, 4),
    ({"partial_rotary_factor": 2.0, "rope_theta": 1e4}, 4),
    ({"partial_rotary_factor": None, "rope_theta": 1e4}, 4),
    ({"rope_theta": 0}, 4),
    ({"rope_theta": -1e4}, 4),
    ({"rope_theta": math.inf}, 4),
    ({"rope_theta": 10**400}, 4),
    ({"rope_theta": "1e4"}, 4),
    ({"rope_type": "spiral"}, 4),
    ({"rope_type": ["default"]}, 4),
    ({"rope_type": "linear"}, 4),
    ({"rope_type": "linear", "factor": "2"}, 4),
    ({"rope_type": "linear", "factor": True}, 4),
    ({"rope_type": "linear", "factor": 0}, 4),
    ({"rope_type": "linear", "factor": math.nan}, 4),
    ({"rope_type": "linear", "factor": [2.0, 2.0]}, 4),
    ({"rope_type": "dynamic", "factor": 2.0}, 2),
    ({"rope_type": "yarn"}, 4),
    ({"rope_type": "yarn", "factor": 2.0, "rope_theta": 1}, 4),
    ({"rope_type": "yarn", "factor": 2.0, "attention_factor": 0}, 4),
    ({**LLAMA3, "low_freq_factor": 1, "high_freq_factor": 1}, 4),
    ({**LLAMA3, "low_freq_factor": 0, "high_freq_factor": 1}, 4),
    ({**LLAMA3, "low_freq_factor": 1}, 4),
    ({**LONG, "short_factor": [1.0], "long_factor": [1.0, 1.0]}, 4),
    ({**LONG, "short_factor": [1.0, 1.0], "long_factor": [1.0, 1.0, 1.0]}, 4),
    ({**LONG, "short_factor": [1.0, 1.0], "long_factor": [1.0, 0]}, 4),
    ({**LONG, "short_factor": [1.0, 1.0], "long_factor": [1.0, "1"]}, 4),
    ({**LONG, "short_factor": [1.0, 1.0]}, 4),
]


@pytest.mark.parametrize(("rope", "head_dim"), NO_FREQUENCIES, ids=str)
def test_rotary_parameters_without_frequencies_are_refused_for_every_stack(rope, head_dim):
    for architecture in ARCHITECTURES:
        with pytest.raises(REFUSALS, match=r"rope_parameters|rope_type|\bhead_dim"):
            LANGUAGE_MODELS[architecture][0](**TINY, rope_parameters=rope, head_dim=head_dim)


@pytest.mark.parametrize(("rope", "head_dim"), NO_FREQUENCIES, ids=str)
def test_rotary_parameters_are_checked_for_each_layer_type_in_use(rope, head_dim):
    ordinary = {"rope_type": "default", "rope_theta": 1e4}
    by_type = {"full_attention": ordinary, "sliding_attention": rope or ordinary}
    types = {"sliding_window": 4, "layer_types": ["full_attention", "sliding_attention"]}
    with pytest.raises(REFUSALS, match=r"rope_parameters|rope_type|\bhead_dim"):
        hf_tfm.TfmDecoderConfig(**TINY, **types, rope_parameters=by_type, head_dim=head_dim)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_size": 8, "decoder_hidden_size": 6}, r"decoder_head_dim \(3\)"),
        (
            {"decoder_head_dim": 2, "rope_parameters": {**LONG, "short_factor": [1.0] * 2, "long_factor": [1.0] * 2}},
            r"short_factor .* 2 entries; decoder_head_dim \(2\) needs one per rotated pair, 1",
        ),
        (
            {"decoder_head_dim": 2, "rope_parameters": {"rope_type": "dynamic", "factor": 2.0}},
            r"decoder_head_dim \(2\)",
        ),
        (
            {
                "rope_parameters": {"full_attention": {"rope_theta": 1e4}},
                "sliding_window": 4,
                "layer_types": ["full_attention"] * 2,
                "decoder_layer_types": ["sliding_attention"] * 2,
            },
            r"not for \['sliding_attention'\], which decoder_layer_types has",
        ),
        (
            {"position_type": "sinusoidal", "decoder_hidden_size": 7, "decoder_head_dim": 4},
            "even decoder_embedding_size",
        ),
        ({"pad_token_id": -1}, r"pad_token_id \(-1\) must be an id of the decoder's vocabulary, 0 to 12"),
        ({"decoder_vocab_size": 7, "decoder_start_token_id": 9}, r"decoder_start_token_id \(9\) must be an id"),
        ({"decoder_layer_types": []}, "decoder_layer_types has 0 entries"),
    ],
)
def test_decoder_of_an_encoder_decoder_is_checked_like_any_stack(options, message):
    with pytest.raises(REFUSALS, match=message):
        hf_tfm.TfmSeq2SeqConfig(**TINY | {"tie_encoder_decoder_embeddings": False} | options)


@pytest.mark.parametrize(
    ("rope", "message"),
    [
        ({"full_attention": 3}, "got {'full_attention': 3}"),
        ({"full_attention": None}, "got {'full_attention': None}"),
        ({"full_attention": {"rope_theta": 1e4}, "rope_theta": 1e4}, "single values; drop one"),
    ],
)
def test_rotary_parameters_of_mixed_layout_are_refused(rope, message):
    with pytest.raises(REFUSALS, match=f"(?s)rope_parameters.*{message}"):
        hf_tfm.TfmDecoderConfig(**TINY, rope_parameters=rope)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_model_of_a_configuration_that_no_longer_fits_is_refused_by_field(architecture):
    config_class, model = LANGUAGE_MODELS[architecture]
    config = config_class(**TINY)
    config.num_hidden_layers = 3
    with pytest.raises(REFUSALS, match="layer_types has 2 entries for 3 layers; give both together"):
        model(config)


@pytest.mark.parametrize("context", [torch.device("meta"), FakeTensorMode()], ids=["meta", "fake"])
def test_values_are_checked_where_models_are_made_without_memory(context):
    rope = {"rope_type": "linear", "rope_theta": 1e4}
    with context:
        hf_tfm.TfmDecoderForCausalLM(hf_tfm.TfmDecoderConfig(**TINY, rope_parameters={**rope, "factor": 2.0}))
        with pytest.raises(REFUSALS, match="rope_parameters"):
            hf_tfm.TfmDecoderConfig(**TINY, rope_parameters={**rope, "factor": 0})


def test_attribute_that_is_no_field_is_saved_and_loaded(tmp_path):
    model = hf_tfm.TfmDecoderForCausalLM(hf_tfm.TfmDecoderConfig(**TINY))
    model.config.pretraining_tp = 1
    model.config.unsloth_version = "2026.1"
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).config
    assert (loaded.pretraining_tp, loaded.unsloth_version) == (1, "2026.1")
    assert type(loaded)(**loaded.to_dict()).pretraining_tp == 1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_misspelt_attribute_is_refused_when_it_is_saved(architecture, tmp_path):
    config = LANGUAGE_MODELS[architecture][0](**TINY)
    config.hiden_dropout = 0.1
    with pytest.raises(REFUSALS, match=r"no field 'hiden_dropout'. The nearest fields are hidden_dropout"):
        config.save_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("key", "written_by", "accepted"),
    [
        ("pretraining_tp", "0.1.0", True),
        ("pretraining_tp", "0.0.9", True),
        ("pretraining_tp", "99.0.0", False),
        ("pretraining_tp", None, False),
        ("hiden_dropout", "0.1.0", False),
    ],
)
def test_unknown_key_of_a_file_is_kept_unless_it_may_be_a_field(key, written_by, accepted):
    written = {**hf_tfm.TfmDecoderConfig(**TINY).to_diff_dict(), key: 1, "hf_tfm_version": written_by}
    if written_by is None:
        del written["hf_tfm_version"]
    if accepted:
        assert getattr(hf_tfm.TfmDecoderConfig.from_dict(written), key) == 1
    else:
        with pytest.raises(REFUSALS, match=f"no field '{key}'.*file written by hf_tfm {written_by}"):
            hf_tfm.TfmDecoderConfig.from_dict(written)
