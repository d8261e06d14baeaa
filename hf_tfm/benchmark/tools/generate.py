"""`hf-tfm bench generate`: greedy generation compared with native models, and the limit set by reading the weights."""

import argparse
import statistics
from typing import Any

import torch
from transformers import CompileConfig

from ...inspection.flops import count_matmul_parameters, weight_bytes
from ..harness.hardware_limits import device_clock, read_bytes_per_second
from ..harness.interleaved_timing import ModelPair, TimedModel, time_interleaved
from ..harness.model_pairs import ComparedModels, check_equal_outputs, compared_models
from ..harness.options import (
    add_model_options,
    add_onednn_option,
    add_output_options,
    add_timing_options,
    apply_onednn,
    autocast,
    count,
    model_sizes,
    parse_arguments,
    round_settings,
    tool_parser,
)
from ..harness.peer_models import X_TRANSFORMERS, ModelSizes
from ..harness.report import GIGA, Report, ratio_results

__all__ = ["main"]


def parse(arguments: list[str] | None, prog: str) -> argparse.Namespace:
    parser = tool_parser(
        "generate", prog, "Measure tokens per second of greedy `generate`, ours and native models of the same weights."
    )
    add_model_options(parser, ModelSizes(768, 12, 12, 50257), ["llama", "gpt2"], convert_each=False)
    group = parser.add_argument_group("generation")
    group.add_argument(
        "--batch_sizes",
        nargs="+",
        type=count,
        default=[1, 8],
        help="Prompts in a batch; each size is a case of its own.",
    )
    group.add_argument("--prompt_length", type=count, default=8, help="Tokens of a prompt.")
    group.add_argument("--new_tokens", type=count, default=256, help="Tokens generated after every prompt.")
    group.add_argument(
        "--cache", choices=("dynamic", "static"), default="dynamic",
        help="Cache of keys and values. static: of fixed size, with decoding compiled by `generate`.",
    )  # fmt: skip
    add_onednn_option(group)
    add_timing_options(parser)
    add_output_options(parser)
    parser.set_defaults(rounds=3, max_rounds=9)
    return parse_arguments(parser, arguments)


def main(arguments: list[str] | None = None, prog: str = "hf-tfm bench generate") -> None:
    args = parse(arguments, prog)
    run(args, prog)


def run(args: argparse.Namespace, prog: str) -> None:
    if args.compile:
        raise ValueError("--compile is not for generation: `generate` compiles decoding itself with --cache static.")
    if X_TRANSFORMERS in args.peers:
        raise ValueError(f"{X_TRANSFORMERS} has no `generate` of transformers; compare it with `hf-tfm bench train`.")
    report = Report.start("generate", args)
    read_rate = read_bytes_per_second(args.device)
    sizes = model_sizes(args, args.prompt_length + args.new_tokens)
    compared = compared_models("causal-lm", args.peers, sizes, args.recipe, args.convert_each, {}, args.seed)
    compared.to(args.device)
    onednn_note = apply_onednn(compared.ours(), args)
    report.measure_gemm(compared.hidden_size, args.dtype)
    prompts = [random_prompts(batch_size, compared.vocab_size, args) for batch_size in args.batch_sizes]
    differences = [check_equal_outputs(prompt_logits(compared, batch), compared.pairs) for batch in prompts]
    compared.cast_weights(args.dtype)
    for batch, difference in zip(prompts, differences, strict=True):
        case = f"{args.cache}, batch {batch.shape[0]}, {compared.hidden_size} {args.dtype}{onednn_note}"
        measure_batch(report, compared, batch, difference, case, args, read_rate)
    report.measure_gemm(compared.hidden_size, args.dtype)
    rates = " and ".join(f"{rate / GIGA:.1f}" for rate in (read_rate, read_bytes_per_second(args.device)))
    report.notes.append(
        f"Reading memory on this machine: {rates} GB/s (before and after). The limit is the time to read all weights "
        "once, which every token needs."
    )
    other_cache = "dynamic" if args.cache == "static" else "static"
    device = report.device_option
    report.finish(args, f"{prog}{device} --cache {other_cache}, or `hf-tfm bench all{device}`.")


def random_prompts(batch_size: int, vocab_size: int, args: argparse.Namespace) -> torch.Tensor:
    generator = torch.Generator().manual_seed(args.seed)
    return torch.randint(vocab_size, (batch_size, args.prompt_length), generator=generator).to(args.device)


@torch.inference_mode()
def prompt_logits(compared: ComparedModels, prompts: torch.Tensor) -> dict[str, torch.Tensor]:
    return {name: model.eval()(prompts).logits for name, model in compared.models.items()}


def measure_batch(
    report: Report,
    compared: ComparedModels,
    prompts: torch.Tensor,
    differences: dict[str, float],
    case: str,
    args: argparse.Namespace,
    read_rate: float,
) -> None:
    """Time all models on one batch of prompts and add the results."""
    # otherwise graphs of another batch size are recompiled with dynamic shapes, which are slower
    torch.compiler.reset()
    generated: dict[str, torch.Tensor] = {}
    timed = [timed_model(name, model, prompts, args, generated) for name, model in compared.models.items()]
    timings = time_interleaved(timed, compared.pairs, round_settings(args), case, device_clock(args.device))
    seconds = {name: statistics.median(values) / args.new_tokens for name, values in timings.seconds.items()}
    limits = {name: weight_bytes(model) / read_rate for name, model in compared.models.items()}
    columns = {
        "ms per token": {name: f"{value * 1e3:.1f}" for name, value in seconds.items()},
        "limit, ms": {name: f"{value * 1e3:.1f}" for name, value in limits.items()},
        "share of limit": {name: f"{limits[name] / seconds[name]:.0%}" for name in seconds},
    }
    report.add_timings(timings, case, "tokens/s", args.dtype, columns)
    report.results += ratio_results(timings, compared.pairs, case, args.workload, differences)
    report.notes += agreement_notes(case, compared.pairs, generated)


def timed_model(
    name: str, model: Any, prompts: torch.Tensor, args: argparse.Namespace, generated: dict[str, torch.Tensor]
) -> TimedModel:
    """A model that continues every prompt once in a round and stores its tokens in `generated`."""
    tokens = prompts.shape[0] * args.new_tokens

    def run_generate() -> None:
        generated[name] = generate_tokens(model, prompts, args)

    return TimedModel(name, [run_generate], tokens, count_matmul_parameters(model).forward_flops(tokens, 0, tokens))


def generate_tokens(model: Any, prompts: torch.Tensor, args: argparse.Namespace) -> torch.Tensor:
    """The new ids of greedy generation, (B, --new_tokens)."""
    options: dict[str, Any] = {}
    if args.cache == "static":
        compile_config = CompileConfig()
        # transformers compiles decoding on accelerators by default, and on CPUs only with this attribute
        compile_config._compile_all_devices = True  # pyright: ignore[reportAttributeAccessIssue]
        options = {"cache_implementation": "static", "compile_config": compile_config}
    with autocast(args.dtype, prompts.device):
        ids = model.generate(
            prompts, attention_mask=torch.ones_like(prompts), do_sample=False, max_new_tokens=args.new_tokens,
            min_new_tokens=args.new_tokens, pad_token_id=0, **options,
        )  # fmt: skip
    return ids[:, prompts.shape[1] :]


def agreement_notes(case: str, pairs: list[ModelPair], generated: dict[str, torch.Tensor]) -> list[str]:
    """The share of equal tokens for every pair of the same weights. With random weights the best tokens are nearly
    equal: rounding can change a choice, and with it all that follow."""
    notes = []
    for pair in pairs:
        if pair.same_weights:
            share = (generated[pair.ours] == generated[pair.peer]).float().mean().item()
            notes.append(f"{case}: {share:.1%} of the tokens of {pair.ours} and {pair.peer} are equal.")
    return notes
