"""Solved sizes bring arms of every architecture within 1 % of the baseline, or are refused with the closest."""

import json
from functools import cache

import pytest
import torch

from hf_tfm import (
    TfmDecoderConfig,
    TfmDecoderForCausalLM,
    TfmEncoderConfig,
    TfmEncoderForMaskedLM,
    TfmSeq2SeqConfig,
    TfmSeq2SeqForConditionalGeneration,
)
from hf_tfm.comparison.arms import Arm
from hf_tfm.comparison.solve import TOLERANCE, Sizes, deviation, solve
from hf_tfm.inspection.model_costs import costs

ARCHITECTURES = {
    "encoder": (TfmEncoderConfig, TfmEncoderForMaskedLM),
    "decoder": (TfmDecoderConfig, TfmDecoderForCausalLM),
    "seq2seq": (TfmSeq2SeqConfig, TfmSeq2SeqForConditionalGeneration),
}
BASE = {"vocab_size": 300, "hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4}
# settings that change what a block costs
CHANGES = [
    {"num_key_value_heads": 1}, {"mlp_type": "plain"}, {"position_type": "learned", "qk_norm": "head"},
    {"mlp_type": "moe", "num_experts": 4, "num_experts_per_tok": 2}, {"head_dim": 32},
]  # fmt: skip


def sizes_of(architecture):
    config_class, model_class = ARCHITECTURES[architecture]

    @cache
    def sizes(fields):
        config = config_class(**BASE | json.loads(fields))
        with torch.device("meta"):
            model = model_class(config)
        return Sizes(model.num_parameters(), costs(model, 1, 8, with_activations=False)[-1].flops_causal, config)

    return lambda arm: sizes(json.dumps(arm.settings | arm.solved))


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: "-".join(map(str, change.values())))
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_arms_agree_with_the_baseline_within_one_percent(architecture, change):
    sizes, arm = sizes_of(architecture), Arm("arm", change)
    base = sizes(Arm("base"))
    for how, field in (("feed_forward", "intermediate_size"), ("width", "hidden_size"), ("depth", "num_hidden_layers")):
        for by in ("flops_per_token", "parameters"):
            target = getattr(base, by)
            found = solve(arm, how, target, by, sizes)
            assert abs(deviation(sizes(found), target, by)) <= TOLERANCE
            assert set(found.solved) <= {field, "intermediate_size"}
            assert found.solved or abs(deviation(sizes(arm), target, by)) <= TOLERANCE


def test_an_arm_that_agrees_is_left_as_it_is():
    sizes = sizes_of("decoder")
    arm = Arm("alibi", {"position_type": "alibi"})
    assert solve(arm, "width", sizes(Arm("base")).parameters, "parameters", sizes) is arm


def test_what_cannot_be_solved_is_refused_with_the_closest():
    sizes = sizes_of("decoder")
    base = sizes(Arm("base")).flops_per_token
    with pytest.raises(ValueError, match=r"the closest is intermediate_size 1: .*\(\+\d+\.\d%\).*steps"):
        solve(Arm("wide", {"hidden_size": 256}), "feed_forward", base, "flops_per_token", sizes)


def test_a_size_that_the_arm_sets_is_not_solved():
    sizes = sizes_of("decoder")
    base = sizes(Arm("base")).flops_per_token
    arm = Arm("narrow", {"intermediate_size": 16})
    with pytest.raises(ValueError, match=r"intermediate_size is what the arm itself sets.* width, depth"):
        solve(arm, "feed_forward", base, "flops_per_token", sizes)
    # a width is a multiple of twice the heads, and nothing takes up the rest
    with pytest.raises(ValueError, match=r"no hidden_size brings it within 1% .* the closest is hidden_size \d+: "):
        solve(arm, "width", base, "flops_per_token", sizes)
