"""`hf-tfm convert`: convert a native checkpoint to one of hf_tfm, or back, and check that the outputs are equal."""

import argparse
from pathlib import Path

import torch
from transformers import AutoConfig, AutoTokenizer
from transformers.utils import logging

from .auto_classes import AUTO_CLASSES, TFM_CONFIGS, head_of_config, head_of_model, model_class
from .convert import convert_to_native, convert_to_ours
from .errors import ConversionError
from .native_checkpoints import NativeCheckpoint, load_native, weight_notes
from .registry import family_of

__all__ = ["main"]

DTYPES = ("float32", "float64", "float16", "bfloat16")


def parse_arguments(arguments: list[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog, description=__doc__, epilog=f"example: {prog} bert-base-uncased my-bert")
    parser.add_argument("source", help="folder or Hub name of a checkpoint")
    parser.add_argument("destination", type=Path, help="folder for the result; must be new or empty")
    parser.add_argument(
        "--to",
        choices=("tfm", "native"),
        default="tfm",
        help="tfm: to a model of hf_tfm (default); native: to a model of transformers",
    )
    parser.add_argument(
        "--family", help='with --to native: the native model type, such as "llama" (default: the original one)'
    )
    parser.add_argument(
        "--head", choices=tuple(AUTO_CLASSES), metavar="HEAD",
        help=f"head of the result, one of {', '.join(AUTO_CLASSES)} (default: the head of the checkpoint)",
    )  # fmt: skip
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        help="dtype of the result (default: that of the checkpoint, or float32 where a lower one loses digits)",
    )
    parser.add_argument("--max_shard_size", default="1GB", help="maximum size of a file with weights (default: 1GB)")
    parser.add_argument("--allow_pickle", action="store_true", help="also read pickled weights, which can run code")
    parser.add_argument("--no_verify", action="store_true", help="do not compare the outputs before and after")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None, prog: str = "hf-tfm convert") -> None:
    args = parse_arguments(arguments, prog)
    logging.set_verbosity_error()
    convert(args)


def convert(args: argparse.Namespace) -> None:
    """Loads, converts and saves a checkpoint. Writes nothing unless the outputs before and after are equal."""
    if args.destination.is_file() or (args.destination.is_dir() and any(args.destination.iterdir())):
        raise ConversionError(f"{args.destination} is not an empty folder; give a new or empty one.")
    model, notes = load_source(args)
    class_before, dtype = type(model).__name__, model.dtype
    if args.to == "tfm":
        unread = family_of(model.config).unread_fields(model.config)
        notes += [f"Fields of the configuration that nothing reads: {', '.join(unread)}."] if unread else []
        converted, difference = convert_to_ours(model, verify=not args.no_verify)
    else:
        converted, difference = convert_to_native(model, args.family, verify=not args.no_verify)
    del model
    converted.save_pretrained(args.destination, max_shard_size=args.max_shard_size)
    tokenizer = copy_tokenizer(args.source, args.destination)
    compared = "not compared" if difference is None else f"{difference:.1e} of the largest output"
    lines = [
        f"{class_before} -> {type(converted).__name__}, {converted.num_parameters():,} parameters, {dtype}.",
        f"Largest difference on a test batch: {compared}.",
        *notes,
    ]
    write_card(args, lines)
    print("\n".join(lines))
    print(f"Written: {args.destination} (weights, configuration, {tokenizer}).")
    print(f"Next: {loading_command(head_of_model(converted), args)}")


def write_card(args: argparse.Namespace, lines: list[str]) -> None:
    """The model card of the result: where it comes from, and what to know of its weights."""
    is_folder = Path(args.source).exists()
    source = Path(args.source).resolve().name if is_folder else args.source
    metadata = ["library_name: transformers", *([] if is_folder else [f"base_model: {source}"])]
    card = ["---", *metadata, "---", "", f"# {args.destination.resolve().name}", ""]
    card += [f"Converted from {source} by `hf-tfm convert`.", "", *(f"- {line}" for line in lines)]
    (args.destination / "README.md").write_text("\n".join(card) + "\n", encoding="utf-8")


def load_source(args: argparse.Namespace) -> NativeCheckpoint:
    """The model to convert, native or ours with `--to native`, and notes about it."""
    dtype = getattr(torch, args.dtype) if args.dtype else None
    if args.to == "tfm":
        return load_native(args.source, args.head, dtype, args.allow_pickle)
    config = AutoConfig.from_pretrained(args.source)
    if config.model_type not in TFM_CONFIGS:
        raise ConversionError(
            f"{args.source} is a {config.model_type}, which is already native; leave out --to native to convert it."
        )
    head = args.head or head_of_config(config)
    model, report = model_class(config, head).from_pretrained(
        args.source,
        dtype=dtype or "auto",
        use_safetensors=None if args.allow_pickle else True,
        output_loading_info=True,
    )
    return NativeCheckpoint(model, weight_notes(head, set(report["missing_keys"]), set(report["unexpected_keys"])))


def copy_tokenizer(source: str, destination: Path) -> str:
    """Saves the tokenizer of a checkpoint next to the result. Returns its class name, or why there is none."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
        return f"no tokenizer: {str(error).strip().splitlines()[0][:100]}"
    tokenizer.save_pretrained(destination)
    return type(tokenizer).__name__


def loading_command(head: str, args: argparse.Namespace) -> str:
    """A shell command that loads the result."""
    import_tfm = "" if args.to == "native" else "import hf_tfm; "
    auto = AUTO_CLASSES[head].__name__
    load = f"print({auto}.from_pretrained('{args.destination}'))"
    return f'python -c "{import_tfm}from transformers import {auto}; {load}"'
