"""Arms from options and files, and budgets."""

import json

import pytest

from hf_tfm.comparison.arms import crossed_arms, named_arm, read_arms
from hf_tfm.comparison.budget import Budget, parse_budget


def test_varied_fields_are_crossed_and_the_first_words_are_the_baseline():
    arms = crossed_arms(["position_type=rotary,alibi", "qk_norm=none,head"])
    assert [arm.name for arm in arms] == [
        "position_type=rotary qk_norm=none", "position_type=rotary qk_norm=head", "position_type=alibi qk_norm=none",
        "position_type=alibi qk_norm=head",
    ]  # fmt: skip
    assert arms[1].settings == {"position_type": "rotary", "qk_norm": "head"}


def test_commas_inside_of_brackets_are_part_of_a_word():
    arms = crossed_arms(['layer_types=[full_attention,sliding_attention],["full_attention","full_attention"]'])
    types = [["full_attention", "sliding_attention"], ["full_attention"] * 2]
    assert [arm.settings["layer_types"] for arm in arms] == types


def test_settings_become_options_or_fields_of_the_configuration():
    settings = "hidden-size=64 optimizer=adamw residual_type=sandwich attention_sinks=true columns=[text=a]"
    arm = named_arm(f"wide: {settings}")
    assert arm.arguments('{"norm_eps": 0.1}')[:-1] == [
        "--hidden_size", "64", "--optimizer", "adamw", "--columns", "text=a", "--config_overrides",
    ]  # fmt: skip
    assert json.loads(arm.arguments('{"norm_eps": 0.1}')[-1]) == {
        "norm_eps": 0.1, "residual_type": "sandwich", "attention_sinks": True,
    }  # fmt: skip
    assert named_arm("base:").arguments() == []


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_arms_from_a_file(tmp_path, suffix):
    content = {"base": {}, "alibi, wide": {"position_type": "alibi", "hidden_size": 64}}
    yaml = "base:\nalibi, wide:\n  position_type: alibi\n  hidden_size: 64\n"
    (tmp_path / f"arms.{suffix}").write_text(json.dumps(content) if suffix == "json" else yaml)
    arms = read_arms(tmp_path / f"arms.{suffix}")
    assert {arm.name: arm.settings for arm in arms} == content
    assert arms[1].folder == "alibi_wide"


@pytest.mark.parametrize("text", ["", "[a]", "a: b", "{", "a: [b"])
def test_another_file_is_refused(tmp_path, text):
    (tmp_path / "arms.yaml").write_text(text)
    with pytest.raises(ValueError, match="--arms"):
        read_arms(tmp_path / "arms.yaml")


@pytest.mark.parametrize("text", ["position_type", "=a", "position_type="])
def test_a_text_that_is_no_setting_is_refused(text):
    with pytest.raises(ValueError, match="name=value"):
        crossed_arms([text])


def test_a_field_stands_in_one_vary():
    with pytest.raises(ValueError, match="stands twice"):
        crossed_arms(["qk_norm=none", "qk_norm=head"])


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("2e13", Budget("FLOPs", 2e13)), ("1.5T", Budget("FLOPs", 1.5e12)), ("20M-tokens", Budget("tokens", 2e7)),
        ("300s", Budget("seconds", 300)), ("90-seconds", Budget("seconds", 90)), ("parameters", Budget("parameters")),
        ("flops", Budget("FLOPs")),
    ],
)  # fmt: skip
def test_budgets(text, budget):
    assert parse_budget(text) == budget


@pytest.mark.parametrize("text", ["", "0", "-1", "many", "5-epochs", "1.2.3", "seconds"])
def test_another_budget_is_refused(text):
    with pytest.raises(ValueError, match="--budget"):
        parse_budget(text)
