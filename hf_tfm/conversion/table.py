"""`hf-tfm families`: the native families that are converted, and how equal the tests found the numbers."""

import argparse
import json
from pathlib import Path
from typing import Any

from .families import FAMILIES, REFUSED
from .family import CONFIGS

__all__ = ["MEASURED", "main", "rows", "summed"]

# Written by `pytest tests/conversion --write_families`.
MEASURED = Path(__file__).with_name("families.json")


def summed(measured: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per family of measurements per case and head."""
    table = []
    for name in FAMILIES:
        of_family = [entry for entry in measured if entry["family"] == name]
        said = {entry["text_equal"] for entry in of_family} - {None}
        table.append({
            "family": name,
            "heads": [head for head in FAMILIES[name].heads if any(entry["head"] == head for entry in of_family)],
            "exact": all(entry["exact"] for entry in of_family),
            "max_difference": max((entry["max_difference"] for entry in of_family), default=None),
            "text_equal": all(said) if said else None,
        })  # fmt: skip
    return table


def rows() -> list[dict[str, Any]]:
    """The table that the tests wrote."""
    return json.loads(MEASURED.read_text(encoding="utf-8"))


def markdown(table: list[dict[str, Any]]) -> str:
    columns = ("native model type", "becomes", "heads", "weights there and back", "largest difference", "text")
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for entry in table:
        back = "bitwise" if entry["exact"] else "within 1e-6"
        text = {True: "equal", False: "differs", None: ""}[entry["text_equal"]]
        lines.append(
            f"| {entry['family']} | {FAMILIES[entry['family']].architecture} | {', '.join(entry['heads'])} | {back} "
            f"| {entry['max_difference']:.0e} | {text} |"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None, prog: str = "hf-tfm families") -> None:
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the measurements as JSON")
    args = parser.parse_args(arguments)
    table = rows()
    if args.json:
        print(json.dumps(table, indent=1))
        return
    print(markdown(table))
    print(
        f"\n{len(table)} native model types become {len(CONFIGS)}. Differences are of float32 outputs of tiny random "
        "models, relative to the largest,\nover padded, unpadded and packed batches.\n\n"
        "Refused, with what the block lacks:"
    )
    print("\n".join(f"  {name:<22} {feature}" for name, feature in sorted(REFUSED.items())))
    print("\nNext: hf-tfm convert NAME FOLDER")
