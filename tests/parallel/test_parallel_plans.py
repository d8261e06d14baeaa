"""Every parallel plan fits its model: its rules name existing modules, and every large matrix is split."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers.distributed.fsdp import ALL_FSDP_STYLES
from transformers.distributed.parallel_utils import ALL_PARALLEL_STYLES, replace_layer_number_by_wildcard

from hf_tfm import TfmSeq2SeqEncoderModel
from hf_tfm.modeling.distributed_checks import check_splits
from hf_tfm.modeling.feed_forward import TfmExperts
from tests.grid import LANGUAGE_MODELS, SIZES, config_fields, make


def make_on_meta(architecture, **fields):
    """The model on the meta device: shapes without memory."""
    with torch.device("meta"):
        return make(architecture, **fields)


def names_in(model):
    named = [*model.named_modules(), *model.named_parameters()]
    return {replace_layer_number_by_wildcard(name) for name, _ in named}


def test_rules_name_existing_modules_and_known_styles(architecture, row):
    model = make_on_meta(architecture, **config_fields(row))
    for plan, styles in (
        (model.tp_plan, ALL_PARALLEL_STYLES),
        (model.ep_plan, ALL_PARALLEL_STYLES),
        (model.fsdp_plan, ALL_FSDP_STYLES),
    ):
        assert plan.keys() <= names_in(model), plan.keys() - names_in(model)
        assert set(plan.values()) <= set(styles)


def test_every_matrix_of_a_block_is_split(architecture, row):
    model = make_on_meta(architecture, **config_fields(row))
    for name, module in model.named_modules():
        rule = replace_layer_number_by_wildcard(name)
        if isinstance(module, nn.Linear) and ".layers." in name and not name.endswith("shared_expert.gate"):
            assert rule in model.tp_plan, f"every process holds all of {name}"
        if isinstance(module, TfmExperts):
            assert {rule, f"{rule}.gate_up_proj", f"{rule}.down_proj"} <= model.tp_plan.keys() & model.ep_plan.keys()


def test_encoder_model_has_the_encoder_rules_of_the_encoder_decoder():
    encoder_decoder = make_on_meta("seq2seq").model
    with torch.device("meta"):
        encoder = TfmSeq2SeqEncoderModel(encoder_decoder.config)
    for own, all_rules in (
        (encoder.tp_plan, encoder_decoder.tp_plan),
        (encoder.fsdp_plan, encoder_decoder.fsdp_plan),
    ):
        assert own == {rule: style for rule, style in all_rules.items() if rule.startswith("encoder.")}
        assert own.keys() <= names_in(encoder)


# what cannot be split in two -> fields, and sizes of the parallel groups
UNSPLITTABLE = {
    "moe_intermediate_size": ({"mlp_type": "moe", "moe_intermediate_size": 24}, {"tp_size": 2}),
    'hidden_act="prelu"': ({"hidden_act": "prelu"}, {"tp_size": 2}),
    'hidden_act="xielu"': ({"hidden_act": "xielu", "mlp_type": "moe"}, {"ep_size": 2}),
}
SPLITTABLE = [
    ({"mlp_type": "moe", "moe_intermediate_size": 16}, {"tp_size": 2}),
    ({"mlp_type": "moe", "moe_intermediate_size": 24}, {"ep_size": 2}),
    ({"hidden_act": "prelu"}, {"fsdp_size": 1}),
]
ONE_OF_EACH = dict.fromkeys(("tp_size", "ep_size", "pp_size", "fsdp_size"), 1)


@pytest.mark.parametrize("name", UNSPLITTABLE)
@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_what_cannot_be_split_is_refused_by_the_field(architecture, name):
    fields, sizes = UNSPLITTABLE[name]
    with pytest.raises(ValueError, match=name):
        check_splits(make_on_meta(architecture, **fields), SimpleNamespace(**{**ONE_OF_EACH, **sizes}))


@pytest.mark.parametrize(("fields", "sizes"), SPLITTABLE, ids=str)
def test_what_can_be_split_is_not_refused(fields, sizes):
    check_splits(make_on_meta("decoder", **fields), SimpleNamespace(**{**ONE_OF_EACH, **sizes}))


def test_saved_configuration_holds_no_plans():
    config = LANGUAGE_MODELS["decoder"][1].config_class(**SIZES)
    assert config.base_model_tp_plan
    assert not [key for key in config.to_dict() if key.endswith("_plan")]


@pytest.mark.parametrize(
    ("fields", "has_plan"),
    [
        ({}, True),
        ({"position_type": "alibi"}, True),
        ({"position_type": "none", "embedding_scale": 2.0}, True),
        ({"position_type": "learned"}, False),
        ({"position_type": "sinusoidal"}, False),
        ({"embedding_norm": "after_positions"}, False),
        ({"embedding_size": 16}, False),
        ({"embedding_dropout": 0.1}, False),
        ({"value_residual": True}, False),
    ],
    ids=str,
)
def test_pipeline_plan_needs_an_embedding_without_other_modules(fields, has_plan):
    assert ("model.layers" in make_on_meta("decoder", **fields).pp_plan) == has_plan


@pytest.mark.parametrize(
    ("architecture", "fields", "supported"),
    [
        ("decoder", {}, True),
        ("decoder", {"position_type": "learned"}, True),
        ("decoder", {"position_type": "alibi"}, False),
        ("decoder", {"sliding_window": 4}, False),
        ("decoder", {"attention_sinks": True}, False),
        ("decoder", {"attn_logit_softcapping": 5.0}, False),
        ("encoder", {}, False),
        ("seq2seq", {}, False),
    ],
    ids=str,
)
def test_context_parallelism_needs_plain_causal_scores(architecture, fields, supported):
    assert make_on_meta(architecture, **fields).supports_context_parallel == supported
