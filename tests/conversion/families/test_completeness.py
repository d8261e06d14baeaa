"""Every family is registered, knows every native field, has test cases and results."""

from pathlib import Path

import pytest
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

import hf_tfm.conversion.families
from hf_tfm.conversion.parity_results import read_results
from hf_tfm.conversion.registry import FAMILIES, MODULES
from tests.conversion.families.cases import CASES
from tests.conversion.families.completeness import check_cases, check_native_fields, check_registered, check_results

FOLDER = Path(hf_tfm.conversion.families.__file__).parent


def test_every_module_of_families_is_registered() -> None:
    check_registered(FOLDER.glob("*.py"), MODULES)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_native_field_is_mapped_required_or_ignored(name: str) -> None:
    check_native_fields(FAMILIES[name], CONFIG_MAPPING[name])


def test_every_head_of_every_family_has_a_test_case() -> None:
    check_cases(FAMILIES, CASES)


def test_every_family_has_parity_results() -> None:
    check_results(FAMILIES, read_results())
