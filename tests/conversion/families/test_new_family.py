"""The recipe for a new family, tried on a Llama with one more configuration field; and what names a forgotten step."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModel, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, LlamaModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from hf_tfm.conversion import ConversionError, from_native
from hf_tfm.conversion.families.llama import ATTENTION, EMBEDDING, GATED_MLP, LLAMA, LM_HEAD
from hf_tfm.conversion.families_command import markdown_table
from hf_tfm.conversion.family import Family
from hf_tfm.conversion.parity_results import update_results
from hf_tfm.conversion.registry import FAMILIES, MODULES
from tests.conversion.families.completeness import check_cases, check_native_fields, check_registered, check_results
from tests.conversion.parity import check_parity
from tests.conversion.tiny import GQA_SIZES, Case, case_parameters, tiny_native

# A native model type that transformers could add: Llama with a factor on the logits.


class ScaledLlamaConfig(LlamaConfig):
    model_type = "scaled_llama"
    logit_scale: float = 1.0


class ScaledLlamaModel(LlamaModel):
    config_class = ScaledLlamaConfig


class ScaledLlamaForCausalLM(LlamaForCausalLM):
    config_class = ScaledLlamaConfig

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        outputs = super().forward(*args, **kwargs)
        outputs.logits = outputs.logits * self.config.logit_scale
        return outputs


# The recipe: a family that starts from its closest relative, and cases that vary what it can choose.

SCALED_LLAMA = dataclasses.replace(
    LLAMA,
    name="scaled_llama",
    head_weights={"base": (), "causal-lm": LM_HEAD},
    field_map={**LLAMA.field_map, "logit_scale": "logit_scale"},
)
CASES = [Case(GQA_SIZES), Case(GQA_SIZES | {"logit_scale": 0.3, "attention_bias": True}, heads=("causal-lm",))]


def register(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONFIG_MAPPING._extra_content, "scaled_llama", ScaledLlamaConfig)
    monkeypatch.setitem(AutoModel._model_mapping._extra_content, ScaledLlamaConfig, ScaledLlamaModel)
    monkeypatch.setitem(AutoModelForCausalLM._model_mapping._extra_content, ScaledLlamaConfig, ScaledLlamaForCausalLM)
    monkeypatch.setitem(FAMILIES, "scaled_llama", family)


def test_the_recipe_is_a_family_and_its_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    register(SCALED_LLAMA, monkeypatch)
    measurements = [
        check_parity("scaled_llama", case, head) for case in CASES for head in (case.heads or SCALED_LLAMA.heads)
    ]
    check_native_fields(SCALED_LLAMA, ScaledLlamaConfig)
    check_cases({"scaled_llama": SCALED_LLAMA}, {"scaled_llama": CASES})
    results = update_results([], {"scaled_llama": measurements})
    check_results({"scaled_llama": SCALED_LLAMA}, results)
    assert "| scaled_llama | tfm_decoder | base, causal-lm | bitwise equal |" in markdown_table(results)


def test_a_forgotten_module_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"MODULES in hf_tfm/conversion/registry.py: scaled_llama"):
        check_registered([tmp_path / "llama.py", tmp_path / "scaled_llama.py"], MODULES)
    with pytest.raises(AssertionError, match=r"in no module of hf_tfm/conversion/registry.py: \['scaled_llama'\]"):
        case_parameters({"scaled_llama": CASES})


def test_a_forgotten_native_field_is_named() -> None:
    family = dataclasses.replace(SCALED_LLAMA, field_map=LLAMA.field_map)
    with pytest.raises(AssertionError, match=r"scaled_llama: add these fields of ScaledLlamaConfig .*: logit_scale"):
        check_native_fields(family, ScaledLlamaConfig)


def test_a_forgotten_weight_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    family = dataclasses.replace(SCALED_LLAMA, base_weights=(EMBEDDING, *ATTENTION, *GATED_MLP))
    register(family, monkeypatch)
    with pytest.raises(ConversionError, match=r"no rule reads .*layers.0.input_layernorm.weight"):
        from_native(tiny_native("scaled_llama", CASES[0], "base"))


def test_forgotten_cases_are_named() -> None:
    families = {"scaled_llama": SCALED_LLAMA}
    with pytest.raises(AssertionError, match=r"tests/conversion/families/cases_\*.py: scaled_llama \(no case\)"):
        check_cases(families, {})
    with pytest.raises(AssertionError, match=r"scaled_llama \(no case with the heads base\)"):
        check_cases(families, {"scaled_llama": CASES[1:]})


def test_forgotten_results_are_named() -> None:
    with pytest.raises(AssertionError, match=r"no results of scaled_llama; .*--write_families"):
        check_results({"scaled_llama": SCALED_LLAMA}, [])
