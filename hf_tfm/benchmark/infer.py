"""`hf-tfm bench infer`: encoders over sentences of real lengths, ours beside native ones of the same weights."""

import argparse
from typing import Any

import torch

from .batches import Batch, chunks, padded, placed, real_lengths, sentences
from .ceilings import attention_flops, clock_of, matmul_parameters
from .contenders import ROUNDING, check_equal, field_of
from .measure import Contender, race
from .options import (
    add_contenders,
    add_onednn,
    add_rounds,
    add_writing,
    arguments_of,
    autocast,
    by_onednn,
    reported,
    rounds_of,
    size_of,
    tool_parser,
)
from .peers import Sizes
from .report import Report, results_of

__all__ = ["main"]


def parse(arguments: list[str] | None, prog: str) -> argparse.Namespace:
    parser = tool_parser("infer", prog, "Sentences per second of encoders, ours and native with the same weights.")
    add_contenders(parser, Sizes(384, 6, 12, 30522), ["bert", "modernbert"], each=True)
    group = parser.add_argument_group("sentences")
    group.add_argument("--length", type=int, default=256, help="Longest sentence, tokens; longer ones are cut.")
    group.add_argument("--fill", type=float, default=0.4, help="Mean length as a share of the longest.")
    group.add_argument("--batch_size", type=int, default=32, help="Sentences in a batch.")
    group.add_argument("--batches", type=int, default=2, help="Batches in a round.")
    group.add_argument(
        "--order", choices=("as-they-come", "sorted"), default="as-they-come",
        help="How peers batch the sentences: sorted by length there is little padding. Ours takes them as they come.",
    )  # fmt: skip
    add_onednn(group)
    add_rounds(parser)
    add_writing(parser)
    return arguments_of(parser, arguments)


def main(arguments: list[str] | None = None, prog: str = "hf-tfm bench infer") -> None:
    args = parse(arguments, prog)
    reported(prog, lambda: run(args, prog))


def run(args: argparse.Namespace, prog: str) -> None:
    report = Report.begun("infer", args)
    made = field_of("base", args.against, size_of(args, args.length), args.recipe, args.each, {}, args.seed)
    if pairs := [name for name, model in made.models.items() if model.config.is_encoder_decoder]:
        raise ValueError(f"{', '.join(pairs)}: encoders are compared here; pairs of stacks by `hf-tfm bench train`.")
    made.place(args.device)
    how = by_onednn(made.ours(), args)
    report.measure_gemm(made.width, args.dtype)
    rows = sentences(real_lengths(args.batches * args.batch_size, args.length, args.fill, args.seed), made.words)
    come, by_length = (
        [placed(padded(part, pad=0), args.device) for part in chunks(some, args.batch_size)]
        for some in (rows, sorted(rows, key=len))
    )
    differences = check_equal({name: answers(model, come[0]) for name, model in made.models.items()}, made.matches)
    made.halve(args.dtype)
    # once more as it is timed: a GPU has other kernels for half precision
    halved = {name: answers(model, come[0], args.dtype) for name, model in made.models.items()}
    check_equal(halved, made.matches, ROUNDING[args.dtype])
    contenders = []
    for name, model in made.models.items():
        batches = by_length if args.order == "sorted" and not name.startswith("ours") else come
        contenders.append(contender(name, model, batches, [len(row) for row in rows], args))
    what = f"{args.order} {made.width} {args.dtype}{how}"
    timed = race(contenders, made.matches, rounds_of(args), what, clock_of(args.device))
    report.measure_gemm(made.width, args.dtype)
    report.add(timed, what, "sentences/s", args.dtype)
    report.results += results_of(timed, made.matches, what, args.work, differences)
    real = sum(map(len, rows))
    report.notes.append(
        f"{len(rows)} sentences, {real / len(rows) / args.length:.0%} of {args.length} tokens on average; real tokens "
        f"among those of a batch: {real / slots(come):.0%} as they come, {real / slots(by_length):.0%} sorted."
    )
    other = "as-they-come" if args.order == "sorted" else "sorted"
    report.finish(args, f"{prog}{report.where} --order {other} --batches 8, or `hf-tfm bench all{report.where}`.")


def slots(batches: list[Batch]) -> int:
    return sum(batch["input_ids"].numel() for batch in batches)


@torch.inference_mode()
def answers(model: Any, batch: Batch, dtype: str = "fp32") -> torch.Tensor:
    """Hidden states of the real tokens of a batch, (tokens, C)."""
    with autocast(dtype, batch["input_ids"].device):
        return model.eval()(**batch).last_hidden_state[batch["attention_mask"] == 1]


def contender(name: str, model: Any, batches: list[Batch], lengths: list[int], args: argparse.Namespace) -> Contender:
    """A model that reads every batch once in a round."""
    model.eval()
    call = torch.compile(model) if args.compile else model

    @torch.inference_mode()
    def read(batch: Batch) -> None:
        with autocast(args.dtype, batch["input_ids"].device):
            call(**batch)

    flops = matmul_parameters(model).flops(sum(lengths), 0, 0) + attention_flops(model.config, lengths)
    return Contender(name, [lambda batch=batch: read(batch) for batch in batches], len(lengths), flops)
