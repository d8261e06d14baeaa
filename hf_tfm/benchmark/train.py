"""`hf-tfm bench train`: whole training steps, ours beside native models of the same weights and x-transformers."""

import argparse
from typing import Any

import torch

from .ceilings import clock_of
from .contenders import ROUNDING, check_equal, field_of
from .measure import Contender, race
from .options import (
    add_contenders,
    add_rounds,
    add_writing,
    arguments_of,
    reported,
    rounds_of,
    size_of,
    tool_parser,
)
from .peers import Sizes
from .report import Report, results_of
from .steps import LEAN, TASKS, Feed, feeds_of, loss_of, optimizer_of, training_flops, training_step

__all__ = ["main"]


def parse(arguments: list[str] | None, prog: str) -> argparse.Namespace:
    parser = tool_parser(
        "train", prog, "Real tokens per second of training: forward, backward, fused AdamW; ours with lean_loss."
    )
    parser.add_argument("--task", choices=TASKS, default="causal-lm", help="What is learnt, and from which batches.")
    add_contenders(parser, Sizes(), ["native"], each=True)
    parser.add_argument(
        "--attention", default="sdpa", help="attn_implementation of ours; peers keep sdpa, as people have them."
    )
    group = parser.add_argument_group("batches")
    group.add_argument("--length", type=int, default=256, help="Longest row, tokens; longer documents are cut.")
    group.add_argument("--fill", type=float, default=0.4, help="Mean length as a share of the longest; not causal-lm.")
    group.add_argument("--batch_size", type=int, default=8, help="Rows in a step; packed-lm: rows when packed.")
    group.add_argument("--steps", type=int, default=2, help="Steps in a round.")
    add_rounds(parser)
    add_writing(parser)
    return arguments_of(parser, arguments)


def main(arguments: list[str] | None = None, prog: str = "hf-tfm bench train") -> None:
    args = parse(arguments, prog)
    reported(prog, lambda: run(args, prog))


def run(args: argparse.Namespace, prog: str) -> None:
    report = Report.begun("train", args)
    head = TASKS[args.task][0]
    made = field_of(head, args.against, size_of(args, args.length), args.recipe, args.each, LEAN, args.seed)
    made.place(args.device)
    for model in made.ours():
        model.set_attn_implementation(args.attention)
    report.measure_gemm(made.width, args.dtype)
    sizes = args.batch_size, args.length, args.fill, made.words
    feeds = feeds_of(args.task, args.steps, *sizes, args.seed, args.device)
    differences = check_equal(losses(made.models, feeds[0]), made.matches)
    made.halve(args.dtype)
    before = losses(made.models, feeds[0], args.dtype)
    check_equal(before, made.matches, ROUNDING[args.dtype])
    contenders = [contender(name, model, feeds, args) for name, model in made.models.items()]
    what = f"{args.task} {made.width} {args.dtype}{' compiled' if args.compile else ''}"
    what += f", ours {args.attention}" * (args.attention != "sdpa")
    timed = race(contenders, made.matches, rounds_of(args), what, clock_of(args.device))
    report.measure_gemm(made.width, args.dtype)
    after = losses(made.models, feeds[0], args.dtype)
    learnt = {name: f"{before[name].item():.4f} to {after[name].item():.4f}" for name in before}
    report.add(timed, what, "tokens/s", args.dtype, **{"loss of the first batch": learnt})
    report.results += results_of(timed, made.matches, what, args.work, differences)
    report.notes.append(described(feeds))
    flags = "--dtype bf16 --compile" if args.dtype == "fp32" else "--dtype fp32"
    report.finish(args, f"{prog}{report.where} --task {args.task} {flags}, or `hf-tfm bench all{report.where}`.")


def described(feeds: list[Feed]) -> str:
    """How many of the tokens are real, on either side."""
    real = sum(sum(feed.sources) for feed in feeds)
    ours, theirs = (sum(batch["input_ids"].numel() for batch in side) for side in
                    ([feed.ours for feed in feeds], [feed.theirs for feed in feeds]))  # fmt: skip
    return (
        f"{len(feeds)} steps of {real // len(feeds)} real tokens in a round; real among the input tokens of a batch: "
        f"ours {real / ours:.0%}, theirs {real / theirs:.0%}."
    )


@torch.no_grad()
def losses(models: dict[str, Any], feed: Feed, dtype: str = "fp32") -> dict[str, torch.Tensor]:
    """Nats per label of every model on the same documents; dtype "fp32": without autocast."""
    return {name: loss_of(model.eval(), feed.batch(name), dtype) for name, model in models.items()}


def contender(name: str, model: Any, feeds: list[Feed], args: argparse.Namespace) -> Contender:
    """A model that takes one optimiser step on every feed in a round."""
    optimizer = optimizer_of(model)
    call = torch.compile(model) if args.compile else model

    def step(feed: Feed) -> None:
        model.train()
        training_step(call, optimizer, feed.batch(name), args.dtype)

    steps = [lambda feed=feed: step(feed) for feed in feeds]
    flops = sum(training_flops(model, feed) for feed in feeds)
    return Contender(name, steps, sum(feed.tokens for feed in feeds), flops)
