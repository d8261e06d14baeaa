"""Fields that a configuration has only with some values of another field, the number of experts say, and fields that
its file has only where they are chosen.

Tools take such a field as a sign of its feature. So a configuration without the feature has no such attribute, as that
of a native family without it, and its file has no such key."""

from collections.abc import Collection, Mapping
from dataclasses import Field, field, fields
from typing import Any

import torch


def only_with(default: Any, **condition: str | tuple[str, ...]) -> Any:
    """A field that a configuration has where another field, the choice, has this value or one of these:
    `only_with(size(8), mlp_type="moe")`. A value added to a registry of classes counts as that whose class its own is
    derived from. `default`: the field's value, or another kind of field with one."""
    known = as_field(default)
    value = known.default
    # a factory: a default would be an attribute of the class, which no instance can lack
    return field(default_factory=lambda: value, metadata={**known.metadata, "only_with": condition})


def written_if_chosen(default: Any) -> Any:
    """A field that a file has only with another value than its default, so that the file of a configuration without the
    feature is what it was before the field was added. `default`: as of `only_with`."""
    known = as_field(default)
    return field(default=known.default, metadata={**known.metadata, "written_if_chosen": True})


def as_field(default: Any) -> Field:
    return default if isinstance(default, Field) else field(default=default)


def is_chosen(registry: Collection[str], chosen: Any, values: tuple[str, ...]) -> bool:
    """Whether a value of a registry is one of these, or has a class derived from one of theirs."""
    if not isinstance(registry, Mapping):
        return chosen in values
    return issubclass(registry[chosen], tuple(registry[value] for value in values))


class ConditionalFields:
    """Mixin of the configurations: which of their fields they have.

    A neutral value (the default, None, False, 0) may be given for an absent field: files written before fields were
    conditional hold such values."""

    __dataclass_fields__: dict[str, Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # in the place of a dataclass's own, which reads every field
        cls.__eq__ = ConditionalFields.__eq__

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.field_values() == other.field_values()  # pyright: ignore[reportAttributeAccessIssue]

    def field_values(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name in self.__dataclass_fields__}

    def resolve_defaults(self) -> None:
        """Fill every None that stands for a value derived from other fields."""

    def absence(self, name: str) -> str | None:
        """Why the field `name` is absent; None if it is present, and for names that are no field."""
        declared = self.__dataclass_fields__
        conditions = declared[name].metadata.get("only_with", {}) if name in declared else {}
        for choice, wanted in conditions.items():
            values = (wanted,) if isinstance(wanted, str) else wanted
            registry, chosen = declared[choice].metadata["registry"], vars(self).get(choice)
            if chosen in registry and not is_chosen(registry, chosen, values):
                listed = " or ".join(f'"{value}"' for value in values)
                return f'{name} needs {choice}={listed}, got "{chosen}"'
        return None

    def conditional_defaults(self) -> dict[str, Any]:
        """Fields that depend on a choice, and their defaults."""
        declared = fields(self)  # pyright: ignore[reportArgumentType]
        return {item.name: item.default_factory() for item in declared if "only_with" in item.metadata}  # pyright: ignore[reportCallIssue]

    def to_dict(self) -> dict[str, Any]:
        """As in transformers, without the fields of `written_if_chosen` that have their default."""
        values = super().to_dict()  # pyright: ignore[reportAttributeAccessIssue]
        for item in fields(self):  # pyright: ignore[reportArgumentType]
            if item.metadata.get("written_if_chosen") and values.get(item.name) == item.default:
                del values[item.name]
        return values

    def drop_absent_fields(self) -> None:
        """Delete absent fields and fill the others. Raises ValueError for an absent field with a value that is not
        neutral."""
        absent = {name: value for name, value in self.conditional_defaults().items() if self.absence(name)}
        given = {name: vars(self)[name] for name in absent}
        vars(self).update(absent)
        self.resolve_defaults()
        for name, value in given.items():
            # older files hold the derived value
            if value != vars(self).pop(name):
                self.refuse_value(name, value)

    def refuse_value(self, name: str, value: Any) -> None:
        """Raises ValueError if the value of an absent field is not neutral."""
        if value and value != self.conditional_defaults()[name]:
            raise ValueError(f"{self.absence(name)}; leave out {name}={value!r}.")

    def follow_choices(self) -> None:
        """Delete fields that became absent, and fill those that became present."""
        for name, default in self.conditional_defaults().items():
            if self.absence(name):
                vars(self).pop(name, None)
            else:
                vars(self).setdefault(name, default)
        self.resolve_defaults()
        if "rope_parameters" in vars(self):
            # as transformers does when a configuration is made
            self.convert_rope_params_to_dict()  # pyright: ignore[reportAttributeAccessIssue]

    def __getattr__(self, name: str) -> Any:
        # called only for what neither an instance nor its class has
        # torch.compile cannot trace how the reason is found, nor an error with keyword arguments
        if torch.compiler.is_compiling():
            raise AttributeError(name)
        reason = self.absence(name)
        raise AttributeError(
            f"{type(self).__name__} has no {name}{f': {reason}' if reason else ''}.", name=name, obj=self
        )

    def __setattr__(self, name: str, value: Any) -> None:
        """As everywhere, but an absent field keeps no value, and a changed choice changes which fields are present.
        Raises ValueError for a value of an absent field that is not neutral."""
        is_complete = "_post_init_done" in vars(self)
        if is_complete and self.absence(name):
            return self.refuse_value(name, value)
        super().__setattr__(name, value)
        if is_complete and name in self.__dataclass_fields__ and "registry" in self.__dataclass_fields__[name].metadata:
            self.follow_choices()
        return None
