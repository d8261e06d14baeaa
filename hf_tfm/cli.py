"""`hf-tfm`: one command whose words name a tool. A tool is imported only when it is asked for, so that none can break
another, nor ask for what is not installed."""

import importlib
import sys
from typing import NamedTuple

__all__ = ["main"]


class Tool(NamedTuple):
    """A module with `main(arguments, prog)`, and one line that says what it does."""

    module: str
    summary: str


TOOLS: dict[tuple[str, ...], Tool] = {
    ("convert",): Tool("hf_tfm.conversion.convert_command", "a native checkpoint to one of hf_tfm, or back"),
    ("families",): Tool(
        "hf_tfm.conversion.families_command", "the native families that convert, and how equal their outputs are"
    ),
    ("bench", "depth"): Tool(
        "hf_tfm.benchmark.depth", "train 200 blocks, wiring by wiring; loss and gradients by depth"
    ),
    ("bench", "length"): Tool("hf_tfm.benchmark.length", "time and memory of forward and backward up to 32,768 tokens"),
    ("bench", "infer"): Tool("hf_tfm.benchmark.infer", "encoders beside native ones of the same weights, sentences/s"),
    ("bench", "train"): Tool("hf_tfm.benchmark.train", "training steps beside those of peers, tokens/s"),
    ("bench", "generate"): Tool("hf_tfm.benchmark.generate", "generation beside native models, and what memory allows"),
    ("bench", "memory"): Tool("hf_tfm.benchmark.memory", "memory of the loss or of a training step beside peers"),
    ("bench", "import"): Tool("hf_tfm.benchmark.import_time", "seconds that import hf_tfm adds to transformers"),
    ("bench", "all"): Tool("hf_tfm.benchmark.everything", "all comparisons with peers, each with its target"),
}


def main(arguments: list[str] | None = None) -> None:
    """Run the tool that the first words name with the rest. Exits with status 2 and the list for unknown words."""
    given = sys.argv[1:] if arguments is None else arguments
    for words, tool in TOOLS.items():
        if tuple(given[: len(words)]) == words:
            importlib.import_module(tool.module).main(given[len(words) :], " ".join(["hf-tfm", *words]))
            return
    asked_for_help = not given or given[-1] in ("-h", "--help")
    print(usage(given), file=sys.stdout if asked_for_help else sys.stderr)
    sys.exit(0 if asked_for_help else 2)


def usage(given: list[str]) -> str:
    """The tools below the words given, or all of them."""
    below = {words: tool for words, tool in TOOLS.items() if given[:1] == [words[0]]} or TOOLS
    lines = [f"  hf-tfm {' '.join(words):<14} {tool.summary}" for words, tool in below.items()]
    return "\n".join(["usage: hf-tfm TOOL [--option value ...]    (TOOL --help lists its options)", "", *lines])


if __name__ == "__main__":
    main()
