"""`hf-tfm convert`: a native checkpoint to ours, or ours to a native one, and the proof that both say the same."""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer
from transformers.utils import logging

from .convert import native_of, ours_of
from .family import CONFIGS, HEADS, head_of, model_class
from .opening import named_head, open_native
from .probe import TOLERANCES, answers, largest_difference, probe_batch
from .rows import ConversionError

__all__ = ["main"]

DTYPES = ("float32", "float64", "float16", "bfloat16")


def parse(arguments: list[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog, description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        epilog=f"example: {prog} bert-base-uncased my-bert",
    )  # fmt: skip
    parser.add_argument("source", help="a folder or Hub name of a checkpoint")
    parser.add_argument("destination", type=Path, help="folder for the result; it must be new or empty")
    parser.add_argument("--to", choices=("tfm", "native"), default="tfm", help="direction")
    parser.add_argument("--family", help="--to native: the model type to become; unset: where the model came from")
    parser.add_argument("--head", choices=tuple(HEADS), help="head to keep; unset: the checkpoint's own")
    parser.add_argument("--dtype", choices=DTYPES, help="unset: the checkpoint's; float32 where folding needs it")
    parser.add_argument("--max_shard_size", default="1GB", help="largest file of weights")
    parser.add_argument("--allow_pickle", action="store_true", help="read pickled weights, which can run code")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None, prog: str = "hf-tfm convert") -> None:
    args = parse(arguments, prog)
    logging.set_verbosity_error()
    try:
        convert(args, prog)
    except (ConversionError, OSError, ValueError) as error:
        print(f"{prog}: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


def convert(args: argparse.Namespace, prog: str) -> None:
    """Load, ask, convert, ask again, compare, save. Nothing is written unless the answers agree."""
    if args.destination.is_file() or (args.destination.is_dir() and any(args.destination.iterdir())):
        raise ConversionError(f"{args.destination} is not an empty folder; name another one, so that nothing is lost.")
    model = open_either(args)
    head, before_class, precision = head_of(model), type(model).__name__, model.dtype
    batch = probe_batch(model.config, head)
    before = answers(model.eval(), batch)
    converted = ours_of(model) if args.to == "tfm" else native_of(model, args.family)
    del model
    difference = largest_difference(before, answers(converted, batch))
    if not difference <= TOLERANCES[precision]:
        raise ConversionError(
            f"The converted model answers otherwise: largest relative difference {difference:.1e} in {precision}, "
            f"where {TOLERANCES[precision]:.0e} is rounding. Nothing was written; please report this checkpoint."
        )
    converted.save_pretrained(args.destination, max_shard_size=args.max_shard_size)
    tokenizer = save_tokenizer(args.source, args.destination)
    print(
        f"{before_class} -> {type(converted).__name__}, {converted.num_parameters():,} parameters, {precision}.\n"
        f"Largest difference on a probe batch: {difference:.1e} of the largest answer.\n"
        f"Written: {args.destination} (weights, configuration, {tokenizer})."
    )
    print(f"Next: {next_line(converted, head, args)}")


def open_either(args: argparse.Namespace) -> Any:
    """The model to convert, of either side."""
    dtype = getattr(torch, args.dtype) if args.dtype else None
    if args.to == "tfm":
        return open_native(args.source, args.head, dtype, args.allow_pickle)
    config = AutoConfig.from_pretrained(args.source)
    if config.model_type not in CONFIGS:
        raise ConversionError(f"{args.source} is a {config.model_type}, which is native already; --to tfm converts it.")
    ours = model_class(config, args.head or named_head(config))
    return ours.from_pretrained(args.source, dtype=dtype or "auto", use_safetensors=None if args.allow_pickle else True)


def save_tokenizer(source: str, destination: Path) -> str:
    """Saves the tokenizer of a checkpoint beside the result, and says what was found."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
        return f"no tokenizer: {str(error).strip().splitlines()[0][:100]}"
    tokenizer.save_pretrained(destination)
    return type(tokenizer).__name__


def next_line(model: Any, head: str, args: argparse.Namespace) -> str:
    """How the result is opened."""
    here = "" if args.to == "native" else "import hf_tfm; "
    auto = HEADS[head].__name__
    return f"python -c \"{here}from transformers import {auto}; print({auto}.from_pretrained('{args.destination}'))\""
