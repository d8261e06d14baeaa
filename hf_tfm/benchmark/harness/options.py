"""Command-line options that the tools for speed and memory share."""

import argparse
import os
from pathlib import Path
from typing import Any

import torch

from hf_tfm.cpu_inference import use_onednn
from hf_tfm.modeling.recipes import RECIPES

from .interleaved_timing import RoundSettings
from .peer_models import NATIVE_CONFIGS, X_TRANSFORMERS, ModelSizes
from .workloads import WORKLOADS, workloads_of_tool

__all__ = ["DTYPES", "add_batch_options", "add_device_options", "add_model_options", "add_onednn_option",
           "add_output_options", "add_timing_options", "apply_onednn", "autocast", "check_device", "count",
           "make_output_folders", "model_sizes", "parse_arguments", "round_settings", "tool_parser"]  # fmt: skip

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "bf16-weights": torch.bfloat16}


def count(text: str) -> int:
    """An option's value as a whole number. Raises ArgumentTypeError unless it is 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 1 or more")
    return int(text)


def tool_parser(tool: str, prog: str, description: str) -> argparse.ArgumentParser:
    """A parser with --workload, which sets the defaults of the other options."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog="--workload NAME --help shows the defaults of that workload.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--workload", choices=workloads_of_tool(tool), help="A row of `hf-tfm bench all`; sets defaults of its own."
    )
    return parser


def parse_arguments(parser: argparse.ArgumentParser, arguments: list[str] | None) -> argparse.Namespace:
    """The options given, then the defaults of --workload, then those of the tool."""
    workload_parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    workload_parser.add_argument("--workload")
    workload = workload_parser.parse_known_args(arguments)[0].workload
    if workload in WORKLOADS:
        parser.set_defaults(**WORKLOADS[workload].options)
    args = parser.parse_args(arguments)
    if args.json is None:
        args.json = Path("runs/bench") / f"{args.workload or parser.prog.split()[-1]}.json"
    make_output_folders(parser, args.json, args.png)
    torch.set_num_threads(args.threads)
    check_device(parser, args)
    return args


def make_output_folders(parser: argparse.ArgumentParser, *files: Path | None) -> None:
    """Make the folders of the files that a tool will write; end with status 2, before anything is measured, if that
    fails."""
    for file in filter(None, files):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            parser.error(f"{file} cannot be written: {error.strerror}; give another file.")
        if file.is_dir() or not os.access(file.parent, os.W_OK):
            parser.error(f"{file} cannot be written; give a file in a folder that you may write to.")


def check_device(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End with status 2 if --device asks for a GPU and there is none."""
    if vars(args).get("device") == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no GPU here; leave the option out to measure the CPU.")


def add_flag(group: Any, name: str, default: bool, description: str) -> None:
    """--NAME and --no_NAME, so that a user can also turn off what a workload turns on."""
    group.add_argument(f"--{name}", action="store_true", default=default, help=f"{description} Off: --no_{name}.")
    group.add_argument(f"--no_{name}", dest=name, action="store_false", default=default, help=argparse.SUPPRESS)


def add_model_options(parser: argparse.ArgumentParser, sizes: ModelSizes, peers: list[str], convert_each: bool) -> None:
    """Peers, recipe and sizes of the models."""
    group = parser.add_argument_group("models")
    group.add_argument(
        "--peers", nargs="+", default=peers, metavar="PEER",
        help=f"Models to compare with: native, {', '.join(NATIVE_CONFIGS)}, {X_TRANSFORMERS}, or checkpoints (folders "
        "or Hub names, native or ours).",
    )  # fmt: skip
    group.add_argument(
        "--recipe", choices=RECIPES,
        help="Build our model from this recipe, and `native` from it. Without it, ours is converted from the peers.",
    )  # fmt: skip
    add_flag(
        group, "convert_each", convert_each,
        "Convert one model of ours from every peer. Otherwise one from the first peer is compared with all.",
    )  # fmt: skip
    group.add_argument("--hidden_size", type=count, default=sizes.hidden_size, help="Width, elements.")
    group.add_argument(
        "--layers",
        type=count,
        default=sizes.layers,
        help="Layers; in an encoder-decoder, of each of the two stacks.",
    )
    group.add_argument("--heads", type=count, default=sizes.heads, help="Attention heads; must divide --hidden_size.")
    group.add_argument("--vocab_size", type=count, default=sizes.vocab_size, help="Entries of the vocabulary.")
    group.add_argument("--seed", type=int, default=0, help="Seed of random weights and random tokens.")


def add_batch_options(group: Any, batch_size: int, fraction_note: str = "") -> None:
    """Size and lengths of batches. `fraction_note` is added to the help of --mean_length_fraction."""
    group.add_argument("--length", type=count, default=256, help="Longest sequence, tokens.")
    group.add_argument(
        "--mean_length_fraction", type=float, default=0.4,
        help=f"Mean length as a fraction of the longest.{fraction_note}",
    )  # fmt: skip
    group.add_argument("--batch_size", type=count, default=batch_size, help="Sequences in a batch.")


def add_onednn_option(group: Any) -> None:
    add_flag(
        group,
        "onednn",
        False,
        "Use oneDNN's matrix products in our model (hf_tfm.cpu_inference; fp32 on a CPU).",
    )


def apply_onednn(models: list[Any], args: argparse.Namespace) -> str:
    """Switch our models to oneDNN if --onednn is given. Returns a note for the name of the case. Raises ValueError
    where oneDNN would change nothing."""
    if not args.onednn:
        return ""
    if args.dtype != "fp32" or args.device != "cpu":
        raise ValueError("--onednn needs --dtype fp32 and --device cpu: torch uses oneDNN for bf16 by itself.")
    for model in models:
        use_onednn(model)
    return ", ours with oneDNN"


def add_timing_options(parser: argparse.ArgumentParser) -> None:
    """Rounds, device, dtype and compilation."""
    default, group = RoundSettings(), parser.add_argument_group("measuring")
    group.add_argument("--rounds", type=count, default=default.rounds, help="Least number of counted rounds.")
    group.add_argument("--max_rounds", type=count, default=default.max_rounds, help="Largest number of counted rounds.")
    group.add_argument(
        "--warmup_rounds", type=int, default=default.warmup_rounds, help="Rounds before these that are not counted."
    )
    group.add_argument(
        "--max_spread", type=float, default=default.max_spread,
        help="Add rounds while the spread of a ratio (interquartile range / median) is larger.",
    )  # fmt: skip
    add_device_options(group)
    add_flag(group, "compile", False, "Compile all models with torch.compile.")


def add_device_options(parser: Any) -> None:
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: the first GPU.")
    parser.add_argument(
        "--dtype", choices=DTYPES, default="fp32",
        help="bf16: autocast with fp32 weights. bf16-weights: the weights are bf16 too.",
    )  # fmt: skip


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Threads, and the files that a tool writes."""
    parser.add_argument("--threads", type=count, default=torch.get_num_threads(), help="CPU threads of every model.")
    parser.add_argument("--json", type=Path, help="File for all numbers. Without it: runs/bench/WORKLOAD.json.")
    parser.add_argument("--png", type=Path, help="File for a plot of the ratios. Without it no plot is drawn.")


def model_sizes(args: argparse.Namespace, length: int) -> ModelSizes:
    return ModelSizes(args.hidden_size, args.layers, args.heads, args.vocab_size, length)


def round_settings(args: argparse.Namespace) -> RoundSettings:
    return RoundSettings(args.rounds, args.warmup_rounds, max(args.rounds, args.max_rounds), args.max_spread)


def autocast(dtype: str, device: torch.device) -> Any:
    """Autocast to bfloat16 if `dtype` is bf16; otherwise a context that changes nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bf16")
