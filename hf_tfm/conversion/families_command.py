"""`hf-tfm families`: list the native families that can be converted, and how equal the tests found their outputs."""

import argparse
import json
from typing import Any

from .auto_classes import TFM_CONFIGS
from .llama_cpp import LLAMA_CPP_ARCHITECTURES
from .parity_results import read_results
from .registry import FAMILIES, UNSUPPORTED

__all__ = ["main"]

COLUMNS = (
    "native model type",
    "hf_tfm model type",
    "heads",
    "weights after round trip",
    "largest difference",
    "text",
    "llama.cpp",
)
TEXT = {True: "equal", False: "differs", None: ""}


def markdown_table(results: list[dict[str, Any]]) -> str:
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    for result in results:
        name = result["family"]
        weights = "bitwise equal" if result["exact"] else "within 1e-6"
        lines.append(
            f"| {name} | {FAMILIES[name].our_model_type} | {', '.join(result['heads'])} | {weights} "
            f"| {result['max_difference']:.0e} | {TEXT[result['text_equal']]} "
            f"| {LLAMA_CPP_ARCHITECTURES.get(name, '')} |"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None, prog: str = "hf-tfm families") -> None:
    parser = argparse.ArgumentParser(prog, description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    args = parser.parse_args(arguments)
    results = read_results()
    if args.json:
        print(json.dumps(results, indent=1))
        return
    print(markdown_table(results))
    print(
        f"\n{len(results)} native model types convert to {len(TFM_CONFIGS)} of hf_tfm. Differences are between float32 "
        "outputs of tiny random models\non padded, unpadded and packed batches, relative to the largest output. "
        "llama.cpp: the architecture in GGUF files of the\nnative checkpoint (convert FOLDER NATIVE --to native), "
        "empty where its converter does not know the model type.\n\n"
        "Not supported, with the feature that hf_tfm does not have:"
    )
    print("\n".join(f"  {name:<22} {feature}" for name, feature in sorted(UNSUPPORTED.items())))
    print("\nNext: hf-tfm convert NAME FOLDER")
