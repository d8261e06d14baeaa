"""`hf-tfm bench memory`: growth of resident memory, every contender in a process of its own."""

import argparse
import statistics
from dataclasses import asdict
from typing import Any

from tqdm.auto import tqdm

from .measure import spread
from .memory_point import PARTS, Point
from .options import add_contenders, add_device, add_writing, arguments_of, reported, tool_parser
from .peers import Sizes
from .pictures import GIB
from .report import Report, Result, target_of
from .resident import in_fresh_process
from .steps import TASKS

__all__ = ["main"]


def parse(arguments: list[str] | None, prog: str) -> argparse.Namespace:
    parser = tool_parser(
        "memory",
        prog,
        "How far memory grows at its peak: a process's, or with --device cuda that of its tensors "
        "there; ours with lean_loss.",
    )
    parser.add_argument(
        "--part", choices=PARTS, default="step",
        help="step: a training step with AdamW, its state and all gradients included. loss: from final hidden states "
        "to their gradient, the weight's gradient held before.",
    )  # fmt: skip
    parser.add_argument("--task", choices=TASKS, default="causal-lm", help="What is learnt, and from which batches.")
    add_contenders(parser, Sizes(768, 12, 12, 50257), ["native"], each=True)
    group = parser.add_argument_group("batches")
    group.add_argument("--length", type=int, default=256, help="Longest row, tokens.")
    group.add_argument("--fill", type=float, default=0.4, help="Mean length as a share of the longest; not causal-lm.")
    group.add_argument("--batch_size", type=int, default=8, help="Rows.")
    group.add_argument("--steps", type=int, default=2, help="Steps, all of which the peak is taken over.")
    parser.add_argument("--rounds", type=int, default=3, help="Processes for every contender.")
    add_device(parser)
    add_writing(parser)
    return arguments_of(parser, arguments)


def main(arguments: list[str] | None = None, prog: str = "hf-tfm bench memory") -> None:
    args = parse(arguments, prog)
    reported(prog, lambda: run(args, prog))


def run(args: argparse.Namespace, prog: str) -> None:
    if args.part == "loss" and args.task == "seq2seq":
        raise ValueError("--part loss has no pairs of stacks; weigh their whole step, or take another --task.")
    report = Report.begun("memory", args)
    points = [(peer, ours) for peer in args.against for ours in (True, False)]
    measured: dict[tuple[str, bool], list[dict[str, Any]]] = {point: [] for point in points}
    what = f"{args.part}, {args.task} {args.hidden_size} {args.dtype}"
    with tqdm(total=args.rounds * len(points), desc=what, unit="process", leave=False) as progress:
        for _ in range(args.rounds):
            for peer, ours in points:
                measured[peer, ours].append(weigh(peer, ours, args))
                progress.update()
    for peer in args.against:
        ours, theirs = measured[peer, True], measured[peer, False]
        name = theirs[0]["theirs"]
        report.results.append(compared(what, name, ours, theirs, args))
        grown = {"ours": [one["growth_bytes"] for one in ours], name: [one["growth_bytes"] for one in theirs]}
        report.contenders += [{"what": what, "name": who, "growth_bytes": sizes} for who, sizes in grown.items()]
        said = [f"{who} {statistics.median(sizes) / GIB:.3f} GiB" for who, sizes in grown.items()]
        report.notes.append(f"{what}: {', '.join(said)} above the idle process.")
    other = "step" if args.part == "loss" else "loss"
    report.finish(args, f"{prog}{report.where} --part {other}, or `hf-tfm bench all{report.where}`.")


def weigh(peer: str, ours: bool, args: argparse.Namespace) -> dict[str, Any]:
    """What a fresh process measures of one side."""
    words = {name: getattr(args, name) for name in asdict(Point()) if hasattr(args, name)}
    point = Point(**words, peer=peer, ours=ours)
    return in_fresh_process("hf_tfm.benchmark.memory_point", asdict(point), "ours" if ours else peer)


def compared(what: str, peer: str, ours: list, theirs: list, args: argparse.Namespace) -> Result:
    """The ratio of growths, process by process. Raises ValueError if the losses are not those of one function."""
    ratios = [mine["growth_bytes"] / other["growth_bytes"] for mine, other in zip(ours, theirs, strict=True)]
    difference = abs(ours[0]["loss"] / theirs[0]["loss"] - 1)
    same = ours[0]["same_weights"]
    # in bfloat16 sums in another order differ by its rounding
    if same and not difference <= (1e-3 if args.dtype == "fp32" else 2e-2):
        raise ValueError(f"ours and {peer} hold the same weights, and their losses differ by {difference:.1e}.")
    return Result(
        what, "ours", peer, statistics.median(ratios), spread(ratios), len(ratios), unit="bytes",
        difference=difference if same else None, target=target_of(args.work, peer), least=False,
    )  # fmt: skip
