"""Weight maps: which parameters of a native model become which of ours.

A weight map is a tuple of rules. A rule names modules or single parameters on both sides; weight and bias follow their
module. `{}` stands for the layer number, `{query_head}` and `{key_head}` for a head number. Each rule is read in both
directions, so there is no second table.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from .errors import ConversionError
from .weight_transforms import IDENTITY, Transform

__all__ = ["ResolvedRule", "WeightMap", "WeightRule", "listing", "resolve", "rule"]

LAYER = "{}"
SUFFIXES = ("", ".weight", ".bias")


class WeightRule(NamedTuple):
    """Names of one or more modules or parameters on both sides, and the transform between their tensors."""

    native: tuple[str, ...]
    ours: tuple[str, ...]
    transform: Transform

    def with_prefixes(self, native: str, ours: str) -> "WeightRule":
        """The same rule with a prefix before the names of each side."""
        return WeightRule(
            tuple(native + name for name in self.native), tuple(ours + name for name in self.ours), self.transform
        )


WeightMap = tuple[WeightRule, ...]


class ResolvedRule(NamedTuple):
    """A rule with complete parameter names."""

    native: list[str]
    ours: list[str]
    transform: Transform


def rule(native: str | Iterable[str], ours: str | Iterable[str], transform: Transform = IDENTITY) -> WeightRule:
    """A weight rule; a single name may be given as a string."""
    return WeightRule(as_tuple(native), as_tuple(ours), transform)


def as_tuple(names: str | Iterable[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def resolve(rules: Iterable[WeightRule], native: set[str], ours: set[str], config: Any) -> list[ResolvedRule]:
    """The rules with complete parameter names, such that each name of `native` and `ours` is used exactly once.

    A rule whose parameters are absent on both sides (biases, optional norms) is left out. Raises ConversionError if
    they are absent on one side only, or if a parameter remains unused."""
    resolved, unused_native, unused_ours = [], set(native), set(ours)
    for entry in unroll(rules, config):
        for suffix in SUFFIXES:
            native_names = [name + suffix for name in entry.native]
            our_names = [name + suffix for name in entry.ours]
            if entry.transform.allows_missing:
                native_names = [name for name in native_names if name in native]
                our_names = [name for name in our_names if name in ours]
            present = (set(native_names) & unused_native) | (set(our_names) & unused_ours)
            if present and set(native_names) <= unused_native and set(our_names) <= unused_ours:
                resolved.append(ResolvedRule(native_names, our_names, entry.transform))
                unused_native -= set(native_names)
                unused_ours -= set(our_names)
    if unused_native or unused_ours:
        raise ConversionError(
            f"The weight map is incomplete: no rule reads these native parameters: {listing(unused_native)}; no rule "
            f"fills these parameters of ours: {listing(unused_ours)}."
        )
    return resolved


def unroll(rules: Iterable[WeightRule], config: Any) -> Iterator[WeightRule]:
    """One rule per layer in place of each rule with `{}`, with the number of every head filled in."""
    for entry in rules:
        if LAYER not in "".join(entry.native + entry.ours):
            yield entry
            continue
        for layer in range(number_of_layers(config, entry.ours[0])):
            yield WeightRule(
                fill_head_numbers([name.replace(LAYER, str(layer)) for name in entry.native], config),
                tuple(name.replace(LAYER, str(layer)) for name in entry.ours),
                entry.transform,
            )


def number_of_layers(config: Any, our_name: str) -> int:
    """Layers of the stack that has the parameter `our_name`: the decoder of an encoder-decoder, or the only stack."""
    in_decoder = config.is_encoder_decoder and "decoder." in our_name
    return config.decoder_layers if in_decoder else config.num_hidden_layers


def fill_head_numbers(names: list[str], config: Any) -> tuple[str, ...]:
    """One name per head in place of each name with `{query_head}` or `{key_head}`."""
    heads = {"{query_head}": config.num_attention_heads, "{key_head}": config.num_key_value_heads}
    for placeholder, count in heads.items():
        names = [
            name.replace(placeholder, str(head))
            for name in names
            for head in range(count if placeholder in name else 1)
        ]
    return tuple(names)


def listing(names: set[str], limit: int = 6) -> str:
    """The first names, sorted, and how many more there are."""
    if not names:
        return "none"
    shown = ", ".join(sorted(names)[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown
