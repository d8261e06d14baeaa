"""Random configurations are refused by a field's name, or every property holds.

`pytest -m fuzz` searches some thousands at random; by default a few hundred, the same in every run.
"""

from collections import Counter
from dataclasses import fields as dataclass_fields
from typing import Any

import pytest
from hypothesis import HealthCheck, currently_in_test_context, event, given, note, seed, settings
from hypothesis import strategies as st

from tests.fuzz.case import Case, NotApplicable, Refused, check_names_field, code_of
from tests.fuzz.properties import PROPERTIES, properties_of
from tests.fuzz.strategies import (
    MISSING_ROPE_TYPES,
    OFTEN,
    OPEN_FAULTS,
    SIZES,
    VALUES,
    any_fields,
    design_space,
)
from tests.grid import LANGUAGE_MODELS

SHARDS = 3  # of each architecture, so that processes share the work
EXAMPLES = 23  # of each shard
MANY_EXAMPLES = 560  # of each shard, with -m fuzz
PROPERTIES_PER_EXAMPLE = 4
HEALTH_CHECKS: Any = list(HealthCheck)
SETTINGS = settings(deadline=None, database=None, print_blob=False, suppress_health_check=HEALTH_CHECKS)


def check(architecture: str, fields: dict[str, Any], properties: list[str], is_legal: bool = True) -> str:
    """AssertionError unless the configuration is refused by a field's name, or has these properties. Returns what
    happened: "refused" or "built"."""
    try:
        case = Case(architecture, fields, is_legal)
    except Refused:
        return "refused"
    for name in properties:
        try:
            PROPERTIES[name](case)
        except NotApplicable as reason:
            count(f"{name} does not apply, {reason}")
        except ValueError as error:
            check_names_field(error, case.config.to_dict())
            count(f"{name} is refused: {error}")
    return "built"


def count(what: str) -> None:
    """An event of the search; nothing where the printed code of a failure runs by itself."""
    if currently_in_test_context():
        event(what)


def search(architecture: str, examples: int, fixed_seed: int | None) -> Counter:
    """Checks so many random configurations; returns how often what happened. A failure shows the smallest one found."""
    happened: Counter = Counter()
    names = st.lists(
        st.sampled_from(properties_of(architecture)),
        unique=True,
        min_size=PROPERTIES_PER_EXAMPLE,
        max_size=PROPERTIES_PER_EXAMPLE,
    )

    @settings(SETTINGS, max_examples=examples)
    @given(any_fields(architecture), names)
    def run(drawn: tuple[dict[str, Any], bool], properties: list[str]) -> None:
        fields, is_legal = drawn
        note(code_of(architecture, fields, "tests.fuzz.test_fuzz", "check", properties, is_legal))
        what = check(architecture, fields, properties, is_legal)
        event(what)
        happened[what, is_legal] += 1

    (run if fixed_seed is None else seed(fixed_seed)(run))()
    return happened


def assert_searched(happened: Counter) -> None:
    """The search means something only if most configurations that ought to be legal are built."""
    built, refused = happened["built", True], happened["refused", True]
    assert refused <= 0.1 * (built + refused), f"{refused} legal configurations were refused, {built} built"


@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_some_random_configurations(architecture, shard):
    assert_searched(search(architecture, EXAMPLES, shard))


@pytest.mark.fuzz
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_many_random_configurations(architecture, shard):
    assert_searched(search(architecture, MANY_EXAMPLES, None))


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_every_field_is_searched(architecture):
    """`values_of` raises TypeError for a field without values."""
    names = {field.name for field in dataclass_fields(LANGUAGE_MODELS[architecture][0])}
    assert set(design_space(architecture)) == names
    every = {name for other in LANGUAGE_MODELS for name in design_space(other)}
    assert {*VALUES, *OFTEN} <= every, f"no fields of a configuration: { ({*VALUES, *OFTEN} - every) }"
    assert not MISSING_ROPE_TYPES, f"ROPE_PARAMETERS and transformers differ in {MISSING_ROPE_TYPES}"


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
@pytest.mark.parametrize("fault", OPEN_FAULTS, ids=str)
def test_open_faults_are_still_open(architecture, fault):
    """A fault that is mended leaves `OPEN_FAULTS`, and the search covers it from then on."""
    context, name = OPEN_FAULTS[fault]
    with pytest.raises((AssertionError, AttributeError, TypeError)):
        check(architecture, {**SIZES, **context, fault[0]: fault[1]}, [name])
