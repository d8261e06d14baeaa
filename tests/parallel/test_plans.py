"""Every plan fits its model: rules name what is there, and what is large is split."""

import pytest
import torch
from torch import nn
from transformers.distributed.fsdp import ALL_FSDP_STYLES
from transformers.distributed.parallel_utils import ALL_PARALLEL_STYLES, replace_layer_number_by_wildcard

from hf_tfm import TfmSeq2SeqEncoderModel
from hf_tfm.modeling.feed_forward import TfmExperts
from tests.grid import SIZES, TRUNKS, make, words_of


def shapeless(architecture, **words):
    """The model without memory for its weights."""
    with torch.device("meta"):
        return make(architecture, **words)


def names_in(model):
    named = [*model.named_modules(), *model.named_parameters()]
    return {replace_layer_number_by_wildcard(name) for name, _ in named}


def test_rules_name_what_is_there_in_known_styles(architecture, row):
    model = shapeless(architecture, **words_of(row))
    for plan, styles in (
        (model.tp_plan, ALL_PARALLEL_STYLES),
        (model.ep_plan, ALL_PARALLEL_STYLES),
        (model.fsdp_plan, ALL_FSDP_STYLES),
    ):
        assert plan.keys() <= names_in(model), plan.keys() - names_in(model)
        assert set(plan.values()) <= set(styles)


def test_every_matrix_of_a_block_is_split(architecture, row):
    model = shapeless(architecture, **words_of(row))
    for name, module in model.named_modules():
        rule = replace_layer_number_by_wildcard(name)
        if isinstance(module, nn.Linear) and ".layers." in name and not name.endswith("shared_expert.gate"):
            assert rule in model.tp_plan, f"{name} lies whole on every process"
        if isinstance(module, TfmExperts):
            assert {rule, f"{rule}.gate_up_proj", f"{rule}.down_proj"} <= model.tp_plan.keys() & model.ep_plan.keys()


def test_the_encoder_alone_has_the_encoders_rules():
    whole = shapeless("seq2seq").model
    with torch.device("meta"):
        alone = TfmSeq2SeqEncoderModel(whole.config)
    for own, all_rules in ((alone.tp_plan, whole.tp_plan), (alone.fsdp_plan, whole.fsdp_plan)):
        assert own == {rule: style for rule, style in all_rules.items() if rule.startswith("encoder.")}
        assert own.keys() <= names_in(alone)


def test_a_checkpoint_says_nothing_of_plans():
    config = TRUNKS["decoder"][1].config_class(**SIZES)
    assert config.base_model_tp_plan
    assert not [key for key in config.to_dict() if key.endswith("_plan")]


@pytest.mark.parametrize(
    ("words", "staged"),
    [
        ({}, True),
        ({"position_type": "alibi"}, True),
        ({"position_type": "none", "embedding_scale": 2.0}, True),
        ({"position_type": "learned"}, False),
        ({"position_type": "sinusoidal"}, False),
        ({"embedding_norm": "after_positions"}, False),
        ({"embedding_size": 16}, False),
        ({"embedding_dropout": 0.1}, False),
    ],
    ids=str,
)
def test_pipelines_need_a_pure_embedding(words, staged):
    assert ("model.layers" in shapeless("decoder", **words).pp_plan) == staged


@pytest.mark.parametrize(
    ("architecture", "words", "spread"),
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
def test_context_parallelism_needs_plain_causal_scores(architecture, words, spread):
    assert shapeless(architecture, **words).supports_context_parallel == spread
