"""Probes of `hf-tfm compare --probes`: what a design can do beside its loss, each in seconds.

A probe is a class in a file of its own, and one entry of PROBES."""

from .base import Probe
from .induction import Induction
from .length import Length
from .recall import Recall

__all__ = ["PROBES", "Probe", "chosen_probes"]

# value of --probes -> probe
PROBES: dict[str, type[Probe]] = {kind.name: kind for kind in (Recall, Induction, Length)}


def chosen_probes(text: str) -> tuple[str, ...]:
    """The names of `name,name`, or all. Raises ValueError for an unknown one."""
    names = tuple(PROBES) if text == "all" else tuple(filter(None, text.split(",")))
    unknown = [name for name in names if name not in PROBES]
    if unknown or not names:
        raise ValueError(
            f"--probes {text}: {', '.join(unknown) or 'nothing'} is unknown; known are {', '.join(PROBES)}, and all."
        )
    return tuple(name for name in PROBES if name in names)
