"""`hf-tfm bench generate`: greedy generation token by token, beside the time that reading the weights once takes."""

import argparse
import statistics
from typing import Any

import torch
from transformers import CompileConfig

from .ceilings import clock_of, matmul_parameters, read_rate, weight_bytes
from .contenders import Field, check_equal, field_of
from .measure import Contender, Match, race
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
from .peers import OTHERS, Sizes
from .report import GIGA, Report, results_of

__all__ = ["main"]


def parse(arguments: list[str] | None, prog: str) -> argparse.Namespace:
    parser = tool_parser("generate", prog, "Tokens per second of greedy `generate`, ours and native, same weights.")
    add_contenders(parser, Sizes(768, 12, 12, 50257), ["llama", "gpt2"], each=False)
    group = parser.add_argument_group("generation")
    group.add_argument("--batch_sizes", nargs="+", type=int, default=[1, 8], help="Prompts at a time, one table each.")
    group.add_argument("--prompt", type=int, default=8, help="Tokens of a prompt.")
    group.add_argument("--new_tokens", type=int, default=256, help="Tokens generated for every prompt, no fewer.")
    group.add_argument(
        "--cache", choices=("dynamic", "static"), default="dynamic",
        help="static: of fixed size, and decoding compiled by generate itself.",
    )  # fmt: skip
    add_onednn(group)
    add_rounds(parser)
    add_writing(parser)
    parser.set_defaults(rounds=3, most_rounds=9)
    return arguments_of(parser, arguments)


def main(arguments: list[str] | None = None, prog: str = "hf-tfm bench generate") -> None:
    args = parse(arguments, prog)
    reported(prog, lambda: run(args, prog))


def run(args: argparse.Namespace, prog: str) -> None:
    if args.compile:
        raise ValueError("generate compiles decoding by itself where the cache has a fixed size: give --cache static.")
    if wrong := sorted(set(args.against) & set(OTHERS)):
        raise ValueError(f"{', '.join(wrong)} has no `generate` of the host; compare it with `hf-tfm bench train`.")
    report = Report.begun("generate", args)
    read = read_rate(args.device)
    length = args.prompt + args.new_tokens
    made = field_of("causal-lm", args.against, size_of(args, length), args.recipe, args.each, {}, args.seed)
    made.place(args.device)
    how = by_onednn(made.ours(), args)
    report.measure_gemm(made.width, args.dtype)
    asked = [prompts_of(batch_size, made.words, args) for batch_size in args.batch_sizes]
    differences = [check_equal(logits_of(made, prompts), made.matches) for prompts in asked]
    made.halve(args.dtype)
    for prompts, difference in zip(asked, differences, strict=True):
        what = f"{args.cache}, batch {prompts.shape[0]}, {made.width} {args.dtype}{how}"
        one_batch_size(report, made, prompts, difference, what, args, read)
    report.measure_gemm(made.width, args.dtype)
    rates = " and ".join(f"{rate / GIGA:.1f}" for rate in (read, read_rate(args.device)))
    report.notes.append(f"A plain read of memory: {rates} GB/s (first and last); bound: all weights read once a token.")
    other = "dynamic" if args.cache == "static" else "static"
    report.finish(args, f"{prog}{report.where} --cache {other}, or `hf-tfm bench all{report.where}`.")


def prompts_of(batch_size: int, words: int, args: argparse.Namespace) -> torch.Tensor:
    generator = torch.Generator().manual_seed(args.seed)
    return torch.randint(words, (batch_size, args.prompt), generator=generator).to(args.device)


@torch.inference_mode()
def logits_of(made: Field, prompts: torch.Tensor) -> dict[str, torch.Tensor]:
    return {name: model.eval()(prompts).logits for name, model in made.models.items()}


def one_batch_size(
    report: Report,
    made: Field,
    prompts: torch.Tensor,
    differences: dict[str, float],
    what: str,
    args: argparse.Namespace,
    read: float,
) -> None:
    """Time all contenders on one number of prompts and add the rows."""
    # graphs compiled for another batch size would be made general, and slower
    torch.compiler.reset()
    texts: dict[str, torch.Tensor] = {}
    contenders = [contender(name, model, prompts, args, texts) for name, model in made.models.items()]
    timed = race(contenders, made.matches, rounds_of(args), what, clock_of(args.device))
    taken = {name: statistics.median(seconds) / args.new_tokens for name, seconds in timed.seconds.items()}
    bounds = {name: weight_bytes(model) / read for name, model in made.models.items()}
    columns = {
        "ms a token": {name: f"{seconds * 1e3:.1f}" for name, seconds in taken.items()},
        "bound, ms": {name: f"{seconds * 1e3:.1f}" for name, seconds in bounds.items()},
        "of the bound": {name: f"{bounds[name] / taken[name]:.0%}" for name in taken},
    }
    report.add(timed, what, "tokens/s", args.dtype, **columns)
    report.results += results_of(timed, made.matches, what, args.work, differences)
    report.notes += same_text(what, made.matches, texts)


def contender(
    name: str, model: Any, prompts: torch.Tensor, args: argparse.Namespace, texts: dict[str, torch.Tensor]
) -> Contender:
    """A model that goes on with every prompt once in a round, and leaves what it wrote in `texts`."""
    tokens = prompts.shape[0] * args.new_tokens

    def write() -> None:
        texts[name] = write_on(model, prompts, args.new_tokens, args)

    return Contender(name, [write], tokens, matmul_parameters(model).flops(tokens, 0, tokens))


def write_on(model: Any, prompts: torch.Tensor, count: int, args: argparse.Namespace) -> torch.Tensor:
    """`count` further ids for every prompt, greedily."""
    options: dict[str, Any] = {}
    if args.cache == "static":
        compiling = CompileConfig()
        # the host compiles on accelerators unasked, and elsewhere when it is told so here
        compiling._compile_all_devices = True  # pyright: ignore[reportAttributeAccessIssue]
        options = {"cache_implementation": "static", "compile_config": compiling}
    with autocast(args.dtype, prompts.device):
        ids = model.generate(
            prompts, attention_mask=torch.ones_like(prompts), do_sample=False, max_new_tokens=count,
            min_new_tokens=count, pad_token_id=0, **options,
        )  # fmt: skip
    return ids[:, prompts.shape[1] :]


def same_text(what: str, matches: list[Match], texts: dict[str, torch.Tensor]) -> list[str]:
    """A line for every match of equal weights: how much of the text is the same. Random weights hardly prefer a word,
    so that rounding may turn a choice, and all after it."""
    lines = []
    for match in matches:
        if match.same_weights:
            share = (texts[match.ours] == texts[match.theirs]).float().mean().item()
            lines.append(f"{what}: {match.ours} and {match.theirs} chose {share:.1%} of the tokens alike.")
    return lines
