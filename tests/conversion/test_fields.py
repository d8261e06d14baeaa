"""No field of a native configuration is overlooked: it is carried, computed from, required, or changes nothing."""

import dataclasses

import pytest
from transformers import PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from hf_tfm.conversion.families import FAMILIES
from hf_tfm.conversion.family import SHARED

BASE = {field.name for field in dataclasses.fields(PreTrainedConfig)}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_native_field_is_spoken_for(name: str) -> None:
    family, config_class = FAMILIES[name], CONFIG_MAPPING[name]
    declared = {field.name for field in dataclasses.fields(config_class)} - BASE - set(SHARED)
    spoken = [*family.fields, *family.required, *family.ignored, *(r for part in family.computed for r in part.reads)]
    assert declared <= set(spoken), f"not spoken for: {sorted(declared - set(spoken))}"
    assert not (set(family.fields) | set(family.required)) & set(family.ignored), "spoken for twice"
