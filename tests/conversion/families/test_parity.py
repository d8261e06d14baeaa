"""Every family with every head: equal outputs, gradients and texts, to ours and back."""

from typing import Any

import pytest

from tests.conversion.families.cases import CASES
from tests.conversion.parity import check_parity
from tests.conversion.tiny import case_parameters


@pytest.mark.parametrize(("family", "number", "head"), case_parameters(CASES))
def test_native_and_converted_models_are_equal(family: str, number: int, head: str, record_property: Any) -> None:
    record_property("parity", check_parity(family, CASES[family][number], head))
