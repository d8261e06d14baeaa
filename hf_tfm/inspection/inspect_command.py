"""`hf-tfm inspect`: see inside a checkpoint on a text, as one page that opens without a network."""

import argparse
from pathlib import Path
from typing import Any

import torch

from ..conversion.auto_classes import AUTO_CLASSES
from ..quiet import only_errors_logged
from .inspect_model import make_report
from .loading import display_name, load_for_inspection
from .text_inputs import MAX_TOKENS

__all__ = ["main"]

DTYPES = ("float32", "float64", "float16", "bfloat16")


def parse_arguments(arguments: list[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog, description=__doc__, epilog=f'example: {prog} gpt2 "The sky is" -o sky.html')
    parser.add_argument("checkpoint", help="folder or Hub name, ours or of a native family (see hf-tfm families)")
    parser.add_argument(
        "text", help="what the model reads; a mask token in it is what a masked language model explains"
    )
    parser.add_argument("--pair", metavar="TEXT", help="second text of a pair: the context of a question")
    parser.add_argument(
        "--target", metavar="TEXT",
        help="of an encoder-decoder: the output text (default: its own); else the token or class to explain",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", type=Path, help="the page (default: inspect.html, if nothing else is written)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers as JSON")
    parser.add_argument("--npz", type=Path, metavar="FILE", help="write the numbers as arrays of numpy")
    parser.add_argument("--png", type=Path, metavar="FOLDER", help="write still pictures")
    parser.add_argument(
        "--position", type=int, help="token whose prediction is explained, from 1; negative: from the end"
    )
    parser.add_argument("--knockout", default="top:8", help="heads to set to zero: all, top:N or none (default: top:8)")
    parser.add_argument("--against", metavar="TEXT", help="another text with as many tokens: what changes between them")
    parser.add_argument("--layers", metavar="LIST", help="layers whose attention is kept, from 1, such as 1,4-6")
    parser.add_argument(
        "--max_tokens", type=int, metavar="N",
        help=f"read the first N tokens only (default: longer than {MAX_TOKENS} is an error)",
    )  # fmt: skip
    parser.add_argument("--gradient_steps", type=int, metavar="N", help="most steps of integrated gradients, 0: none")
    parser.add_argument("--dtype", choices=DTYPES, help="dtype of the weights (default: that of the checkpoint)")
    parser.add_argument(
        "--head", choices=tuple(AUTO_CLASSES), metavar="HEAD",
        help=f"head of a native checkpoint, one of {', '.join(AUTO_CLASSES)} (default: its own)",
    )  # fmt: skip
    parser.add_argument("--allow_pickle", action="store_true", help="also read pickled weights, which can run code")
    return parser.parse_args(arguments)


def parse_layers(text: str) -> list[int]:
    """Layers from 0 for a list from 1, such as "1,4-6". Raises ValueError for another text."""
    layers: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or not (last or first).isdigit() or int(first) < 1:
            raise ValueError(f'--layers "{text}" must be a list of layers from 1, such as 1,4-6.')
        layers += range(int(first) - 1, int(last or first))
    return sorted({*layers})


@only_errors_logged()
def main(arguments: list[str] | None = None, prog: str = "hf-tfm inspect") -> None:
    args = parse_arguments(arguments, prog)
    if args.position == 0:
        raise ValueError("--position counts tokens from 1, or from -1 at the end; got 0.")
    dtype = None if args.dtype is None else getattr(torch, args.dtype)
    loaded = load_for_inspection(args.checkpoint, dtype, args.head, args.allow_pickle)
    report = make_report(
        loaded.model,
        loaded.tokenizer,
        args.text if args.pair is None else (args.text, args.pair),
        args.target,
        position=args.position - 1 if args.position and args.position > 0 else args.position,
        knockout=args.knockout,
        against=args.against,
        layers=None if args.layers is None else parse_layers(args.layers),
        max_tokens=args.max_tokens,
        gradient_steps=args.gradient_steps,
        name=display_name(args.checkpoint),
    )
    report.warnings[:0] = loaded.notes
    for warning in report.warnings:
        print(f"Note: {warning}")
    for path in write_files(report, args):
        print(f"Written: {path}")


def write_files(report: Any, args: argparse.Namespace) -> list[Path]:
    """What was asked for; the page, if nothing was."""
    from .files import write_json, write_npz, write_pictures
    from .page import write_page

    output = args.output or (None if args.json or args.npz or args.png else Path("inspect.html"))
    writers = ((write_page, output), (write_json, args.json), (write_npz, args.npz), (write_pictures, args.png))
    written = [(write, path) for write, path in writers if path is not None]
    for write, path in written:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(report, path)
    return [path for _, path in written]
