"""What a family needs besides its weight map. Each check names what is missing, and where to add it."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from hf_tfm.conversion.family import SHARED_FIELDS, Family
from tests.conversion.tiny import Case

BASE_FIELDS = {field.name for field in dataclasses.fields(PreTrainedConfig)}


def check_registered(files: Iterable[Path], modules: Iterable[Any]) -> None:
    """Every module of families is in the registry."""
    registered = {module.__name__.rpartition(".")[2] for module in modules}
    forgotten = sorted({file.stem for file in files} - registered - {"__init__"})
    assert not forgotten, f"add to MODULES in hf_tfm/conversion/registry.py: {', '.join(forgotten)}"


def check_native_fields(family: Family, config_class: Any) -> None:
    """Every field that the native configuration declares is mapped, required or ignored."""
    declared = {field.name for field in dataclasses.fields(config_class)} - BASE_FIELDS - set(SHARED_FIELDS)
    forgotten = sorted(declared - family.known_fields)
    assert not forgotten, (
        f"{family.name}: add these fields of {config_class.__name__} to field_map, config_mappings, required_values or "
        f"ignored_fields: {', '.join(forgotten)}"
    )
    ignored_twice = sorted((set(family.field_map) | set(family.required_values)) & set(family.ignored_fields))
    assert not ignored_twice, f"{family.name}: remove these used fields from ignored_fields: {', '.join(ignored_twice)}"


def check_cases(families: Mapping[str, Family], cases: Mapping[str, list[Case]]) -> None:
    """Every head of every family has a test case."""
    forgotten = []
    for name, family in families.items():
        tested = {head for case in cases.get(name, []) for head in (case.heads or family.heads)}
        if name not in cases:
            forgotten.append(f"{name} (no case)")
        elif set(family.heads) - tested:
            forgotten.append(f"{name} (no case with the heads {', '.join(sorted(set(family.heads) - tested))})")
    assert not forgotten, f"add test cases to tests/conversion/families/cases_*.py: {'; '.join(forgotten)}"


def check_results(families: Mapping[str, Family], results: list[dict[str, Any]]) -> None:
    """`parity_results.json` lists the families in their order, with all of their heads and equal numbers."""
    write = "write them with: pytest tests/conversion --write_families"
    names = [result["family"] for result in results]
    forgotten = [name for name in families if name not in names]
    assert not forgotten, f"parity_results.json has no results of {', '.join(forgotten)}; {write}"
    assert names == list(families), f"parity_results.json lists other families, or another order; {write}"
    for result in results:
        family = families[result["family"]]
        assert set(result["heads"]) == set(family.heads), (
            f"{family.name} in parity_results.json has other heads; {write}"
        )
        assert result["max_difference"] <= 1e-5, family.name
        assert result["text_equal"] in (True, None), family.name
        assert result["exact"] or family.needs_float32, family.name
