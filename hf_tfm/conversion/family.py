"""A native family: how its configuration and its parameter names map to ours, in both directions."""

import copy
import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from transformers import PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from ..modeling.configuration_tfm import TfmConfig
from ..modeling.recipes import recipe_fields
from .auto_classes import TFM_CONFIGS
from .errors import ConversionError
from .undeclared_fields import check_undeclared_fields, unread_fields
from .weight_map import WeightMap, WeightRule

__all__ = ["SHARED_FIELDS", "ConfigMapping", "Family", "same_names", "without"]

# Fields of PreTrainedConfig that both sides have under one name.
SHARED_FIELDS = ("pad_token_id", "bos_token_id", "eos_token_id", "id2label", "label2id", "problem_type", "dtype")

Fields = dict[str, Any]


class ConfigMapping(NamedTuple):
    """Configuration fields that need more than a change of name.

    `to_ours`: our fields from a native configuration. `to_native`: native fields from our configuration. `check`:
    raises ConversionError for a native configuration that has no equivalent. `native_fields`: the native fields that
    the functions read."""

    to_ours: Callable[[Any], Fields] | None = None
    to_native: Callable[[Any], Fields] | None = None
    native_fields: tuple[str, ...] = ()
    check: Callable[[Any], None] | None = None


@dataclasses.dataclass(frozen=True)
class Family:
    """One native model type. Add it to `registry.py`.

    Identity:
    `name`: the native model type. `our_model_type`: ours. `recipe`: the row of `recipes.py` with its defaults, if any,
    as one for `recipe_model_type` (None: ours).

    Weights:
    `base_weights`: weight map of the base model. `head_weights`: head name -> weight map of the head. `our_heads`:
    native head name -> ours, where they differ. `unread_weights`: head name -> a regular expression for the names of
    tensors that the native class has but does not read with this head; they come back as zeros.

    Configuration:
    `field_map`: native field -> our field with the same value. `config_mappings`: fields that need more than a change
    of name, applied in order. `fixed_fields`: our fields that are the same for every checkpoint. `head_fields`: head
    name -> our fields that differ for this head, or functions that compute them from the native configuration.
    `native_head_fields`: head name -> native fields that differ for it.
    `required_values`: native field -> the only value that we support. `ignored_fields`: native field -> the reason why
    it changes no number. Fields that no family declares, but that transformers reads, are in `undeclared_fields.py`."""

    name: str
    our_model_type: str
    base_weights: WeightMap
    head_weights: Mapping[str, WeightMap]
    field_map: Mapping[str, str]
    recipe: str | None = None
    recipe_model_type: str | None = None
    our_heads: Mapping[str, str] = dataclasses.field(default_factory=dict)
    unread_weights: Mapping[str, str] = dataclasses.field(default_factory=dict)
    config_mappings: tuple[ConfigMapping, ...] = ()
    fixed_fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    head_fields: Mapping[str, Fields] = dataclasses.field(default_factory=dict)
    native_head_fields: Mapping[str, Fields] = dataclasses.field(default_factory=dict)
    required_values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    ignored_fields: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the heads that can be converted."""
        return tuple(self.head_weights)

    @property
    def needs_float32(self) -> bool:
        """Whether half precision would lose digits of converted weights."""
        return any(rule.transform.needs_float32 for rule in self.base_weights)

    @property
    def known_fields(self) -> set[str]:
        """Native fields that the family maps, requires or ignores."""
        mapped = {name for mapping in self.config_mappings for name in mapping.native_fields}
        return {*self.field_map, *mapped, *self.required_values, *self.ignored_fields}

    def check_head(self, head: str) -> None:
        """Raises ConversionError if this head cannot be converted."""
        if head not in self.head_weights:
            raise ConversionError(f'{self.name} has no head "{head}" that can be converted: {", ".join(self.heads)}.')

    def our_head(self, native_head: str) -> str:
        """Our name of a native head."""
        return self.our_heads.get(native_head, native_head)

    def native_head(self, our_head: str) -> str:
        """The native name of a head of ours."""
        return next((native for native, ours in self.our_heads.items() if ours == our_head), our_head)

    def weight_map(self, head: str, native_prefix: str, our_prefix: str) -> list[WeightRule]:
        """Every rule of a model with this head. The prefixes stand before the names of the base model."""
        base = [rule.with_prefixes(native_prefix, our_prefix) for rule in self.base_weights]
        return base + list(self.head_weights[head])

    def read_weights(self, head: str, names: Iterable[str]) -> set[str]:
        """Those of the names of native tensors that the native class reads with this head."""
        unread = self.unread_weights.get(head)
        return {name for name in names if unread is None or not re.search(unread, name)}

    def config_to_ours(self, native: PreTrainedConfig, head: str, tensor_fields: Fields) -> TfmConfig:
        """Our configuration of a native one. `tensor_fields`: fields that only the tensors tell. Raises
        ConversionError with the name of a field that has no equivalent."""
        self.check_values(native)
        fields = dict(self.fixed_fields)
        fields |= {ours: getattr(native, name) for name, ours in self.field_map.items() if hasattr(native, name)}
        for mapping in self.config_mappings:
            if mapping.check is not None:
                mapping.check(native)
            if mapping.to_ours is not None:
                fields |= mapping.to_ours(native)
        head_fields = self.head_fields.get(head, {})
        fields |= {name: value(native) if callable(value) else value for name, value in head_fields.items()}
        fields |= tensor_fields | {"origin": self.name}
        fields |= {name: getattr(native, name) for name in SHARED_FIELDS if getattr(native, name, None) is not None}
        fields = copy.deepcopy(fields)  # configurations write into the dictionaries they are given
        if self.recipe:
            fields = recipe_fields(self.recipe, self.recipe_model_type or self.our_model_type, fields)
        return TFM_CONFIGS[self.our_model_type](**fields)

    def check_values(self, native: PreTrainedConfig) -> None:
        """Raises ConversionError if a native field has a value that we do not support."""
        if "per_layer_config" in native.to_dict():
            raise ConversionError(
                f"{self.name} with per_layer_config is not supported: layers may differ only in their layer type."
            )
        check_undeclared_fields(native, self.known_fields, is_encoder=self.our_model_type == "tfm_encoder")
        for name, value in self.required_values.items():
            if getattr(native, name, value) != value:
                raise ConversionError(
                    f"{self.name} with {name}={getattr(native, name)!r} is not supported; {name}={value!r} is."
                )

    def unread_fields(self, native: PreTrainedConfig) -> list[str]:
        """Fields of a native configuration that no code reads: neither the family nor transformers."""
        return unread_fields(native, {*self.known_fields, *SHARED_FIELDS})

    def config_to_native(self, ours: TfmConfig, head: str) -> PreTrainedConfig:
        """The native configuration closest to ours. Convert it back to see whether it is equivalent."""
        fields = dict(self.required_values)
        fields |= {name: getattr(ours, our) for name, our in self.field_map.items() if hasattr(ours, our)}
        for mapping in self.config_mappings:
            if mapping.to_native is not None:
                fields |= mapping.to_native(ours)
        fields |= {name: getattr(ours, name) for name in SHARED_FIELDS} | self.native_head_fields.get(head, {})
        return CONFIG_MAPPING[self.name](**copy.deepcopy(fields))


def same_names(*names: str) -> dict[str, str]:
    """Native fields that have the same name in our configuration, as part of a `field_map`."""
    return {name: name for name in names}


def without(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """A copy of `fields` without the entries `names`."""
    return {name: value for name, value in fields.items() if name not in names}
