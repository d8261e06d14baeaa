"""`hf-tfm convert`: convert a native checkpoint to one of hf_tfm, or back, and check that the outputs are equal."""

import argparse
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer

from ..quiet import only_errors_logged
from .auto_classes import AUTO_CLASSES, TFM_CONFIGS, head_of_config, head_of_model
from .card import CARD, converted_card
from .checkpoint_files import TOKENIZER_JSON, check_tokenizer_files, files_among, read_config
from .convert import convert_to_native, convert_to_ours
from .errors import ConversionError
from .native_checkpoints import NativeCheckpoint, load_native, weight_notes
from .registry import family_of
from .sentence_transformers_files import copy_files, read_modules
from .whole_checkpoints import errors_of, load_tfm

__all__ = ["main"]

DTYPES = ("float32", "float64", "float16", "bfloat16")
TOKENIZER_FILES = (*TOKENIZER_JSON, "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model")


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


@only_errors_logged()
def main(arguments: list[str] | None = None, prog: str = "hf-tfm convert") -> None:
    args = parse_arguments(arguments, prog)
    convert(args)


def convert(args: argparse.Namespace) -> None:
    """Loads, converts and saves a checkpoint. Leaves no folder unless the outputs before and after are equal and all of
    it is written."""
    if args.destination.is_file() or (args.destination.is_dir() and any(args.destination.iterdir())):
        raise ConversionError(f"{args.destination} is not an empty folder; give a new or empty one.")
    modules = read_modules(args.source)
    model, notes = load_source(args, encodes_sentences=bool(modules))
    class_before, dtype = type(model).__name__, model.dtype
    if args.to == "tfm":
        unread = family_of(model.config).unread_fields(model.config)
        notes += [f"Fields of the configuration that nothing reads: {', '.join(unread)}."] if unread else []
        converted, difference = convert_to_ours(model, verify=not args.no_verify)
    else:
        converted, difference = convert_to_native(model, args.family, verify=not args.no_verify)
    del model
    tokenizer, tokenizer_note = load_tokenizer(args.source, len(converted.get_input_embeddings().weight))
    compared = "not compared" if difference is None else f"{difference:.1e} of the largest output"
    lines = [
        f"{class_before} -> {type(converted).__name__}, {converted.num_parameters():,} parameters, {dtype}.",
        f"Largest difference on a test batch: {compared}.",
        *notes,
    ]
    save(converted, tokenizer, modules, lines, args)
    print("\n".join(lines))
    modules_note = f", {len(modules)} modules of sentence-transformers" if modules else ""
    print(f"Written: {args.destination} (weights, configuration, {tokenizer_note}{modules_note}).")
    print(f"Next: {loading_command(head_of_model(converted), bool(modules), args)}")


def save(model: Any, tokenizer: Any, modules: list[Any], lines: list[str], args: argparse.Namespace) -> None:
    """Writes the result, or nothing: what is there of it when something fails would pass for a checkpoint."""
    try:
        model.save_pretrained(args.destination, max_shard_size=args.max_shard_size)
        if tokenizer is not None:
            tokenizer.save_pretrained(args.destination)
        if modules:
            copy_files(args.source, modules, args.destination)
        card = converted_card(
            args.source, args.destination, lines, "sentence-transformers" if modules else "transformers"
        )
        (args.destination / CARD).write_text(card, encoding="utf-8")
    except BaseException:
        shutil.rmtree(args.destination, ignore_errors=True)
        raise


def load_source(args: argparse.Namespace, encodes_sentences: bool) -> NativeCheckpoint:
    """The model to convert, native or ours with `--to native`, and notes about it. `encodes_sentences`: it is one of
    sentence-transformers, which reads only the encoder of an encoder-decoder."""
    dtype = getattr(torch, args.dtype) if args.dtype else None
    if args.to == "tfm":
        head = args.head
        if head is None and encodes_sentences and is_encoder_decoder(args.source):
            head = "encoder"
        return load_native(args.source, head, dtype, args.allow_pickle)
    model_type = read_config(args.source)["model_type"]
    if model_type not in TFM_CONFIGS:
        raise ConversionError(
            f"{args.source} is a {model_type}, which is already native; leave out --to native to convert it."
        )
    with errors_of(args.source, "reading config.json"):
        config = AutoConfig.from_pretrained(args.source)
    head = args.head or head_of_config(config)
    loaded = load_tfm(config, head, args.source, args.allow_pickle, dtype or "auto")
    return NativeCheckpoint(loaded.model, weight_notes(head, loaded.new, loaded.left_out))


def is_encoder_decoder(source: str) -> bool:
    with errors_of(source, "reading config.json"):
        return AutoConfig.from_pretrained(source).is_encoder_decoder


def load_tokenizer(source: str, vocab_size: int) -> tuple[Any, str]:
    """The tokenizer of a checkpoint and the name of its class, or None and why there is none. Raises ConversionError if
    it is damaged, or has more tokens than the `vocab_size` rows of the embedding."""
    found = files_among(source, TOKENIZER_FILES)
    if not found:
        return None, "no tokenizer: the checkpoint has none"
    check_tokenizer_files(source)
    try:
        # code that a checkpoint brings is not run
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except Exception as error:
        text = " ".join(str(error).split())
        if isinstance(error, ImportError) or "trust_remote_code" in text:
            return None, f"no tokenizer: {text[:100]}"
        raise ConversionError(
            f"{source}: its tokenizer ({', '.join(found)}) cannot be read ({type(error).__name__}: {text[:200]}); "
            "repair its files, or remove them to convert the model alone."
        ) from error
    if len(tokenizer) > vocab_size:
        raise ConversionError(
            f"{source}: its tokenizer ({', '.join(found)}) has {len(tokenizer):,} tokens, the embedding only "
            f"{vocab_size:,} rows. Resize the model first (resize_token_embeddings), or remove these files to convert "
            "the model alone."
        )
    return tokenizer, type(tokenizer).__name__


def loading_command(head: str, encodes_sentences: bool, args: argparse.Namespace) -> str:
    """A shell command that loads the result."""
    import_tfm = "" if args.to == "native" else "import hf_tfm; "
    if encodes_sentences:
        name = "SentenceTransformer"
        return (
            f"python -c \"{import_tfm}from sentence_transformers import {name}; print({name}('{args.destination}'))\""
        )
    auto = AUTO_CLASSES[head].__name__
    load = f"print({auto}.from_pretrained('{args.destination}'))"
    return f'python -c "{import_tfm}from transformers import {auto}; {load}"'
