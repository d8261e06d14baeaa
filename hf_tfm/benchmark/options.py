"""Options that the tools of speed and memory share, and how a tool ends in an error."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError

from ..modeling.recipes import RECIPES
from ..onednn import use_onednn
from .measure import Rounds
from .peers import NATIVE, OTHERS, PeerMissing, Sizes
from .works import WORKS, works_of

__all__ = ["DTYPES", "add_contenders", "add_device", "add_onednn", "add_rounds", "add_writing", "arguments_of",
           "autocast", "by_onednn", "refuse_missing_gpu", "reported", "rounds_of", "size_of",
           "tool_parser"]  # fmt: skip

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "bf16-weights": torch.bfloat16}


def tool_parser(tool: str, prog: str, description: str) -> argparse.ArgumentParser:
    """A parser with --work, whose names set the defaults of the other options."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog="--work NAME --help shows the defaults of that work.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--work", choices=works_of(tool), help="A row of `hf-tfm bench all`: sets other defaults.")
    return parser


def arguments_of(parser: argparse.ArgumentParser, given: list[str] | None) -> argparse.Namespace:
    """Options as given, elsewhere those of --work, elsewhere the tool's defaults."""
    chooser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    chooser.add_argument("--work")
    work = chooser.parse_known_args(given)[0].work
    if work in WORKS:
        parser.set_defaults(**WORKS[work].options)
    args = parser.parse_args(given)
    if args.json is None:
        args.json = Path("runs/bench") / f"{args.work or parser.prog.split()[-1]}.json"
    torch.set_num_threads(args.threads)
    refuse_missing_gpu(parser, args)
    return args


def refuse_missing_gpu(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End with status 2 where --device names a GPU that is not there."""
    if vars(args).get("device") == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU here.")


def add_contenders(parser: argparse.ArgumentParser, size: Sizes, against: list[str], each: bool) -> None:
    """--against, --recipe and sizes."""
    group = parser.add_argument_group("contenders")
    group.add_argument(
        "--against", nargs="+", default=against, metavar="PEER",
        help=f"native, {', '.join(NATIVE)}, {', '.join(OTHERS)}, or a checkpoint (folder or Hub name, native or ours).",
    )  # fmt: skip
    group.add_argument(
        "--recipe", choices=RECIPES, help="Ours is built so, and becomes `native`; unset: ours is converted from peers."
    )
    group.add_argument(
        "--each", action=argparse.BooleanOptionalAction, default=each,
        help="Convert ours from every peer, rather than from the first, which the others meet.",
    )  # fmt: skip
    group.add_argument("--hidden_size", type=int, default=size.hidden_size, help="Width, elements.")
    group.add_argument("--layers", type=int, default=size.layers, help="Blocks, in either stack of a pair.")
    group.add_argument("--heads", type=int, default=size.heads, help="Attention heads; must divide hidden_size.")
    group.add_argument("--vocab_size", type=int, default=size.vocab_size, help="Words.")
    group.add_argument("--seed", type=int, default=0, help="Of weights and words.")


def add_onednn(parser: Any) -> None:
    """--onednn."""
    parser.add_argument(
        "--onednn", action=argparse.BooleanOptionalAction, default=False,
        help="Ours with hf_tfm.onednn.use_onednn: in fp32 on a CPU.",
    )  # fmt: skip


def by_onednn(models: list[Any], args: argparse.Namespace) -> str:
    """Let these models compute as --onednn says, and how to say so. Raises ValueError where it would change nothing."""
    if not args.onednn:
        return ""
    if args.dtype != "fp32" or args.device != "cpu":
        raise ValueError("--onednn is for --dtype fp32 on a CPU: torch computes bf16 with oneDNN anyway.")
    for model in models:
        use_onednn(model)
    return ", ours by oneDNN"


def add_rounds(parser: argparse.ArgumentParser) -> None:
    """How it is measured."""
    default, group = Rounds(), parser.add_argument_group("measuring")
    group.add_argument("--rounds", type=int, default=default.counted, help="Rounds that count, at least.")
    group.add_argument("--most_rounds", type=int, default=default.most, help="Rounds that count, at most.")
    group.add_argument("--warmup_rounds", type=int, default=default.dropped, help="Rounds before, not counted.")
    group.add_argument(
        "--spread", type=float, default=default.spread,
        help="Rounds are added while the middle half of a ratio is wider than this share of its median.",
    )  # fmt: skip
    add_device(group)
    group.add_argument("--compile", action=argparse.BooleanOptionalAction, default=False, help="torch.compile for all.")


def add_device(parser: Any) -> None:
    """Where, and in which numbers."""
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: the first GPU.")
    parser.add_argument(
        "--dtype", choices=DTYPES, default="fp32",
        help="bf16: autocast over fp32 weights. bf16-weights: the weights are bf16 too.",
    )  # fmt: skip


def add_writing(parser: argparse.ArgumentParser) -> None:
    """Threads, and where results go."""
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads of every contender.")
    parser.add_argument("--json", type=Path, help="Where every number goes; unset: runs/bench/WORK.json.")
    parser.add_argument("--png", type=Path, help="Where a picture of the ratios goes; unset: none is drawn.")


def size_of(args: argparse.Namespace, length: int) -> Sizes:
    return Sizes(args.hidden_size, args.layers, args.heads, args.vocab_size, length)


def rounds_of(args: argparse.Namespace) -> Rounds:
    return Rounds(args.rounds, args.warmup_rounds, max(args.rounds, args.most_rounds), args.spread)


def autocast(dtype: str, device: torch.device) -> Any:
    """A context that computes in bfloat16, or one that changes nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bf16")


def reported(prog: str, run: Callable[[], None]) -> None:
    """Run a tool; what it refuses is one line and status 2. Other errors are bugs, and keep their trace."""
    try:
        run()
    except (ValueError, OSError, PeerMissing, StrictDataclassError) as error:
        print(f"{prog}: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
