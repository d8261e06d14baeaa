"""The command `hf-tfm`. Its first arguments name a tool, whose module is imported only then: a tool cannot break
another, and needs no packages that only another uses."""

import importlib
import sys
from typing import NamedTuple

from hf_tfm.errors import DEBUG, one_line_errors

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
    ("inspect",): Tool("hf_tfm.inspection.inspect_command", "see inside a checkpoint on a text, as one page"),
    ("push",): Tool("hf_tfm.hub.push_command", "a model to the Hub, without what a run leaves beside it"),
    ("doctor",): Tool("hf_tfm.doctor.doctor_command", "what is broken in a checkpoint, of any code, and the remedy"),
    ("compare",): Tool("hf_tfm.comparison.compare_command", "which of several designs is better, at equal compute"),
    ("evaluate",): Tool("hf_tfm.evaluate_command", "tasks of lm-evaluation-harness on a checkpoint"),
    ("serve",): Tool(
        "hf_tfm.serving.serve_command", "transformers' server, which OpenAI's clients ask, of a checkpoint"
    ),
    ("chat",): Tool("hf_tfm.serving.chat_command", "transformers' chat in the terminal with a checkpoint"),
    ("bench", "depth"): Tool("hf_tfm.benchmark.tools.depth", "train 200 layers; losses, and gradients by layer"),
    ("bench", "length"): Tool("hf_tfm.benchmark.tools.length", "time and memory of training up to 32,768 tokens"),
    ("bench", "infer"): Tool("hf_tfm.benchmark.tools.infer", "encoder inference compared with native models"),
    ("bench", "encode"): Tool("hf_tfm.benchmark.tools.encode", "sentence vectors beside ONNX Runtime and OpenVINO"),
    ("bench", "train"): Tool("hf_tfm.benchmark.tools.train", "training steps compared with other models"),
    ("bench", "generate"): Tool("hf_tfm.benchmark.tools.generate", "greedy generation compared with native models"),
    ("bench", "memory"): Tool("hf_tfm.benchmark.tools.memory", "memory of the loss or of a training step"),
    ("bench", "import"): Tool("hf_tfm.benchmark.tools.import_time", "seconds that import hf_tfm adds to transformers"),
    ("bench", "all"): Tool("hf_tfm.benchmark.tools.run_all", "all comparisons of speed and memory, with targets"),
}
# first argument -> extras of the package with what its tools import; depth trains on the data of train.py
EXTRAS = {"bench": "train,bench", "compare": "compare", "evaluate": "evaluate"}


def main(arguments: list[str] | None = None) -> None:
    """Run the tool that the first arguments name, with the rest. For other arguments, print the list of tools and exit
    with status 2."""
    everything = sys.argv[1:] if arguments is None else arguments
    given = [argument for argument in everything if argument != DEBUG]
    found = next((name for name in TOOLS if tuple(given[: len(name)]) == name), ())
    prog = " ".join(["hf-tfm", *found])
    with one_line_errors(prog, extra=EXTRAS.get("".join(found[:1]), ""), debug=DEBUG in everything):
        if found:
            importlib.import_module(TOOLS[found].module).main(given[len(found) :], prog)
            return
        wants_help = not given or given[-1] in ("-h", "--help")
        print(usage(given), file=sys.stdout if wants_help else sys.stderr)
        sys.exit(0 if wants_help else 2)


def usage(given: list[str]) -> str:
    """The tools that begin with the first argument, or all of them."""
    tools = {name: tool for name, tool in TOOLS.items() if given[:1] == [name[0]]} or TOOLS
    lines = [f"  hf-tfm {' '.join(name):<14} {tool.summary}" for name, tool in tools.items()]
    options = f"(hf-tfm TOOL --help lists its options; {DEBUG} shows where an error comes from)"
    return "\n".join([f"usage: hf-tfm TOOL [--option value ...]    {options}", "", *lines])


if __name__ == "__main__":
    main()
