"""Configurations: the list of fields, values that are refused, values that are derived."""

import copy
import json
import pickle
from dataclasses import fields

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, PreTrainedConfig

import hf_tfm
from hf_tfm.modeling.configuration_tfm import VERSION
from hf_tfm.modeling.feed_forward import FEED_FORWARDS
from hf_tfm.modeling.recipes import RECIPES

CONFIGS = {
    "tfm_encoder": hf_tfm.TfmEncoderConfig,
    "tfm_decoder": hf_tfm.TfmDecoderConfig,
    "tfm_seq2seq": hf_tfm.TfmSeq2SeqConfig,
}
EACH_CONFIG = pytest.mark.parametrize("config_class", CONFIGS.values(), ids=CONFIGS)

# Checkpoints depend on these names. Record a new field in CHANGELOG.md, with the published family that needs it.
SHARED_FIELDS = """
activation_dropout attention_dropout attention_output_gate attention_scale attention_sinks attn_logit_softcapping
bos_token_id
classifier_act classifier_bias classifier_dense classifier_dropout classifier_norm depth_scaling embedding_dropout
embedding_norm embedding_scale embedding_size eos_token_id final_logit_softcapping first_layer_norm head_dense_bias
head_dim hf_tfm_version hidden_act hidden_dropout hidden_size initializer_range intermediate_size layer_scale_init_value
layer_types
fused_loss lm_head_act lm_head_bias lm_head_type logit_scale max_position_embeddings mlp_bias mlp_type
moe_intermediate_size moe_layers norm_bias norm_eps norm_topk_prob norm_type num_attention_heads num_experts
num_experts_per_tok num_hidden_layers num_key_value_heads origin out_bias output_router_logits pad_token_id
padding_free pooling position_offset position_type qk_norm qk_norm_position qkv_bias query_temperature
query_temperature_length relative_attention_max_distance
relative_attention_num_buckets residual_scale residual_type rope_layers rope_parameters router_aux_loss_coef
mup_base_head_dim mup_base_width shared_expert_intermediate_size sinusoid_type sliding_window tie_word_embeddings
value_residual vocab_size width_scaling z_loss_coef
""".split()
OWN_FIELDS = {
    "tfm_encoder": ["add_pooling_layer", "type_vocab_size"],
    "tfm_decoder": ["use_cache"],
    "tfm_seq2seq": """
        decoder_attention_heads decoder_embedding_scale decoder_head_dim decoder_hidden_size decoder_intermediate_size
        decoder_layer_types decoder_layers decoder_num_key_value_heads decoder_shift decoder_start_token_id
        decoder_vocab_size tie_encoder_decoder_embeddings use_cache
    """.split(),
}


@EACH_CONFIG
def test_config_has_exactly_the_listed_fields(config_class):
    inherited = {field.name for field in fields(PreTrainedConfig)}
    ours = {field.name for field in fields(config_class)} - inherited
    assert sorted(ours) == sorted([*SHARED_FIELDS, *OWN_FIELDS[config_class.model_type]])


@EACH_CONFIG
def test_misspelt_field_is_refused_with_a_suggestion(config_class):
    with pytest.raises(ValueError, match=r"no field 'hiden_size'.*hidden_size"):
        config_class(hiden_size=64)


@EACH_CONFIG
def test_generation_settings_are_refused_and_error_names_generation_config(config_class):
    with pytest.raises(ValueError, match=r"'num_beams'.*generation_config"):
        config_class(num_beams=4)


@EACH_CONFIG
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"position_type": "rotery"}, "position_type"),
        ({"hidden_size": "64"}, "hidden_size"),
        ({"hidden_act": "sillu"}, "hidden_act"),
        ({"hidden_dropout": 1.5}, "hidden_dropout"),
        ({"hidden_size": 65}, r"hidden_size \(65\) must be a multiple of .* heads \(8\)"),
        ({"num_key_value_heads": 3}, r"num_key_value_heads \(3\) must divide num_attention_heads \(8\): 1, 2, 4, 8"),
        ({"layer_types": ["full_attention"]}, "layer_types has 1 entries for 6 layers"),
        ({"layer_types": ["chunked_attention"] * 6}, "chunked_attention"),
        ({"layer_types": ["sliding_attention"] * 6}, "sliding_window"),
        ({"sliding_window": 0}, "sliding_window.*at least 1"),
        (
            {"position_type": "alibi", "rope_parameters": {"rope_theta": 1e4}},
            'rope_parameters needs position_type="rotary"',
        ),
        ({"position_type": "alibi", "rope_theta": 5e5}, 'rope_parameters needs .*got "alibi".*rope_theta'),
        ({"rope_parameters": {"sliding_attention": {"rope_theta": 1e4}}}, "not for \\['full_attention'\\]"),
        ({"rope_parameters": {"rope_type": "spiral"}}, "rope_type is 'spiral'.*allowed are"),
        ({"rope_parameters": {"partial_rotary_factor": 0.05, "rope_theta": 1e4}}, "gives 3 elements"),
        ({"position_type": "alibi", "rope_layers": [True] * 6}, "rope_layers needs"),
        ({"position_type": "alibi", "position_offset": 2}, 'position_offset needs position_type="learned" or "sin'),
        ({"shared_expert_intermediate_size": 64}, "shared_expert_intermediate_size needs"),
        ({"mlp_type": "moe", "activation_dropout": 0.1}, "inner dropout"),
        ({"mlp_type": "moe", "num_experts": 2, "num_experts_per_tok": 3}, r"num_experts_per_tok \(3\)"),
        ({"mlp_type": "moe", "mlp_bias": True}, "neither biases"),
        ({"moe_layers": [True] * 6}, "moe_layers needs"),
        ({"num_experts": 4}, 'num_experts needs mlp_type="moe", got "gated"; leave out num_experts=4'),
        ({"relative_attention_num_buckets": 8}, 'relative_attention_num_buckets needs position_type="relative_bias"'),
        ({"output_router_logits": True}, "output_router_logits needs"),
        ({"depth_scaling": "deepnorm"}, 'residual_type="post"'),
        ({"position_offset": -1}, "position_offset"),
        ({"qk_norm_position": "after_rotation"}, 'qk_norm_position needs qk_norm="head" or "heads" or "width"'),
        (
            {"qk_norm": "head", "qk_norm_position": "after_rotation", "position_type": "alibi"},
            'qk_norm_position needs position_type="rotary"',
        ),
        ({"query_temperature_length": 5}, r"query_temperature_length \(5\) is read with query_temperature only"),
        ({"attention_output_gate": "elementwise"}, "'elementwise' is not one of \\['none', 'head', 'channel'\\]"),
        ({"position_type": "sinusoidal", "embedding_size": 33}, "even embedding_size"),
    ],
)
def test_invalid_value_is_refused_with_field_and_value(config_class, options, message):
    with pytest.raises((ValueError, StrictDataclassError), match=f"(?s){message}"):
        config_class(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder_num_key_value_heads": 5}, "decoder_num_key_value_heads"),
        ({"decoder_layer_types": ["full_attention"]}, "decoder_layer_types has 1 entries for 6 layers"),
        ({"num_key_value_heads": 2, "decoder_attention_heads": 1}, "decoder_num_key_value_heads"),
        (
            {"sliding_window": 4, "layer_types": ["full_attention"] * 5 + ["sliding_attention"], "decoder_layers": 2},
            "give decoder_layer_types",
        ),
        ({"decoder_vocab_size": 7}, "tie_encoder_decoder_embeddings=False"),
        ({"decoder_hidden_size": 256}, "tie_encoder_decoder_embeddings=False"),
        ({"rope_layers": [True] * 6}, "rope_layers is not available"),
        ({"decoder_attention_heads": 3, "position_type": "rotary"}, "decoder_head_dim"),
        ({"moe_layers": [True] * 6, "mlp_type": "moe"}, "moe_layers is not available"),
    ],
)
def test_invalid_decoder_fields_are_refused(options, message):
    with pytest.raises((ValueError, StrictDataclassError), match=f"(?s){message}"):
        hf_tfm.TfmSeq2SeqConfig(**options)


@EACH_CONFIG
def test_file_with_an_unknown_key_is_refused_with_its_version(config_class, tmp_path):
    config_class().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    content = json.loads(file.read_text()) | {"warp_drive": True, "hf_tfm_version": "9.9"}
    file.write_text(json.dumps(content))
    message = (
        rf"'warp_drive' \(file written by hf_tfm 9\.9, read by {VERSION}: upgrade with pip install --upgrade hf_tfm"
    )
    with pytest.raises(ValueError, match=message):
        AutoConfig.from_pretrained(tmp_path)


@EACH_CONFIG
def test_saved_configuration_loads_equal_and_holds_its_version(config_class, tmp_path):
    config = config_class(num_hidden_layers=2, sliding_window=3, num_labels=4, origin="somewhere")
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is config_class
    assert loaded.to_diff_dict() == config.to_diff_dict()
    assert json.loads((tmp_path / "config.json").read_text())["hf_tfm_version"] == VERSION


@pytest.mark.parametrize(("written_by", "kept"), [("9.9.0", "9.9.0"), ("0.0.1", VERSION), (VERSION, VERSION)])
def test_file_of_a_newer_version_opens_with_a_warning_and_keeps_its_version(tmp_path, caplog, written_by, kept):
    hf_tfm.TfmDecoderConfig(hf_tfm_version=written_by).to_json_file(tmp_path / "config.json")
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"hf_tfm_version": written_by}))
    with caplog.at_level("WARNING"):
        loaded = AutoConfig.from_pretrained(tmp_path)
    assert loaded.hf_tfm_version == written_by
    warned = f"written by hf_tfm {written_by}, read by {VERSION}: results differ" in caplog.text
    assert warned == (kept == "9.9.0"), caplog.text
    loaded.save_pretrained(tmp_path)
    assert json.loads(file.read_text())["hf_tfm_version"] == kept


@EACH_CONFIG
def test_field_given_to_from_pretrained_is_validated(config_class, tmp_path):
    config_class(num_hidden_layers=2).save_pretrained(tmp_path)
    with pytest.raises(StrictDataclassError, match="layer_types has 2 entries for 3 layers"):
        config_class.from_pretrained(tmp_path, num_hidden_layers=3)
    assert config_class.from_pretrained(tmp_path, hidden_dropout=0.25).hidden_dropout == 0.25


@EACH_CONFIG
def test_legacy_rope_fields_become_rope_parameters(config_class):
    config = config_class(rope_theta=5e5, rope_scaling={"rope_type": "linear", "factor": 2.0})
    assert config.rope_parameters == {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}


@EACH_CONFIG
def test_sizes_are_derived_from_each_other(config_class):
    config = config_class(hidden_size=96, num_attention_heads=6, num_key_value_heads=2, sliding_window=7)
    assert (config.head_dim, config.intermediate_size) == (16, 256)
    assert config_class(mlp_type="plain", hidden_size=96).intermediate_size == 384
    assert set(config.layer_types) == {"sliding_attention"}


def test_decoder_view_defaults_to_the_encoder_and_equals_get_text_config():
    config = hf_tfm.TfmSeq2SeqConfig(hidden_size=64, num_hidden_layers=2, decoder_layers=4, decoder_attention_heads=2)
    view, text_config = config.decoder_view, config.get_text_config(decoder=True)
    for name in ("num_hidden_layers", "num_attention_heads", "head_dim", "intermediate_size", "layer_types"):
        assert getattr(view, name) == getattr(text_config, name), name
    assert (view.num_hidden_layers, view.num_attention_heads, view.head_dim) == (4, 2, 32)
    config._attn_implementation = "eager"
    assert view._attn_implementation == "eager"


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_builds_for_its_architectures_and_accepts_overrides(name):
    for architecture in RECIPES[name][0]:
        config = CONFIGS[architecture].recipe(name, hidden_size=64, num_hidden_layers=3, norm_eps=1e-3)
        assert (config.hidden_size, config.num_hidden_layers, config.norm_eps) == (64, 3, 1e-3)
        assert len(config.layer_types) == 3


def test_recipe_of_another_architecture_is_refused_with_the_available_ones():
    with pytest.raises(ValueError, match=r'No recipe "bert" for tfm_decoder; available: .*llama'):
        hf_tfm.TfmDecoderConfig.recipe("bert")


def test_per_layer_configuration_is_refused():
    with pytest.raises(ValueError, match=r"no field 'per_layer_config'.*layer_types"):
        hf_tfm.TfmDecoderConfig(per_layer_config={0: {"num_key_value_heads": 1}})


# values that files held before configurations without the feature lost these fields
NEUTRAL = {
    "num_experts": 8, "num_experts_per_tok": 2, "norm_topk_prob": True, "moe_intermediate_size": 1408,
    "moe_layers": None, "shared_expert_intermediate_size": None, "router_aux_loss_coef": 0.0,
    "output_router_logits": False, "rope_parameters": None, "rope_layers": None, "position_offset": 0,
    "sinusoid_type": "half", "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128,
}  # fmt: skip
# choices -> the fields of NEUTRAL that come with them
WITH_CHOICES = [
    ({"position_type": "none"}, []),
    ({"position_type": "rotary"}, ["rope_parameters", "rope_layers"]),
    ({"position_type": "learned"}, ["position_offset"]),
    ({"position_type": "sinusoidal"}, ["position_offset", "sinusoid_type"]),
    ({"position_type": "relative_bias"}, ["relative_attention_num_buckets", "relative_attention_max_distance"]),
    ({"position_type": "alibi", "mlp_type": "moe"}, [*NEUTRAL][:8]),
]
EACH_CHOICE = pytest.mark.parametrize(("choices", "present"), WITH_CHOICES, ids=lambda value: str(list(value)[:1]))


@EACH_CONFIG
@EACH_CHOICE
def test_configuration_has_and_writes_only_the_fields_of_its_features(config_class, choices, present, tmp_path):
    config = config_class(**choices)
    config.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    for held in (
        config,
        copy.deepcopy(config),
        pickle.loads(pickle.dumps(config)),
        AutoConfig.from_pretrained(tmp_path),
    ):
        assert [name for name in NEUTRAL if hasattr(held, name)] == [name for name in NEUTRAL if name in present]
        assert held.to_diff_dict() == written
    assert config == copy.deepcopy(config)
    # what transformers derives from rotary parameters
    assert hasattr(config, "rope_scaling") == ("rope_parameters" in present)


@EACH_CONFIG
def test_a_field_that_is_written_if_chosen_leaves_other_files_as_they_were(config_class, tmp_path):
    later = {field.name: field.default for field in fields(config_class) if field.metadata.get("written_if_chosen")}
    assert later, "no field is written if chosen: drop the rule"
    config_class().save_pretrained(tmp_path)
    assert later.keys().isdisjoint(json.loads((tmp_path / "config.json").read_text()))
    chosen = config_class(attention_output_gate="head")
    chosen.save_pretrained(tmp_path)
    opened = AutoConfig.from_pretrained(tmp_path)
    assert (opened.attention_output_gate, opened.to_diff_dict()) == ("head", chosen.to_diff_dict())


@EACH_CONFIG
@EACH_CHOICE
def test_file_that_holds_neutral_values_of_absent_features_opens_without_them(config_class, choices, present):
    config = config_class(**choices)
    older = {**{name: NEUTRAL[name] for name in NEUTRAL if name not in present}, **config.to_diff_dict()}
    assert config_class.from_dict(older).to_diff_dict() == config.to_diff_dict()


def test_absent_field_is_an_attribute_error_that_names_its_choice_and_takes_only_a_neutral_value():
    config = hf_tfm.TfmDecoderConfig(position_type="alibi")
    with pytest.raises(AttributeError, match='no num_experts: num_experts needs mlp_type="moe", got "gated"'):
        _ = config.num_experts
    with pytest.raises(ValueError, match='output_router_logits needs mlp_type="moe"'):
        config.output_router_logits = True
    config.output_router_logits, config.rope_parameters = False, None
    assert not hasattr(config, "output_router_logits")
    assert not hasattr(config, "rope_parameters")


def test_changed_choice_brings_the_fields_of_the_new_value_and_drops_those_of_the_old():
    config = hf_tfm.TfmDecoderConfig(position_type="alibi")
    config.mlp_type, config.position_type = "moe", "rotary"
    assert config == hf_tfm.TfmDecoderConfig(mlp_type="moe")
    config.mlp_type, config.position_type = "gated", "alibi"
    assert config == hf_tfm.TfmDecoderConfig(position_type="alibi")


def test_class_derived_from_the_registered_one_has_its_fields(monkeypatch):
    monkeypatch.setitem(FEED_FORWARDS, "my_moe", type("MyExperts", (FEED_FORWARDS["moe"],), {}))
    assert hf_tfm.TfmDecoderConfig(mlp_type="my_moe", num_experts=3).num_experts == 3


@EACH_CONFIG
def test_dtype_auto_is_that_of_the_file(config_class, tmp_path):
    config_class(dtype="bfloat16").save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path, dtype="auto").dtype is torch.bfloat16
