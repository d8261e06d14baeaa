"""`hf-tfm bench train`: whole training steps compared with native models of the same weights and x-transformers."""

import argparse
from typing import Any

import torch

from ..harness.hardware_limits import device_clock
from ..harness.interleaved_timing import TimedModel, time_interleaved
from ..harness.model_pairs import TOLERANCES, check_equal_outputs, compared_models
from ..harness.options import (
    add_batch_options,
    add_model_options,
    add_output_options,
    add_timing_options,
    count,
    model_sizes,
    parse_arguments,
    round_settings,
    tool_parser,
)
from ..harness.peer_models import ModelSizes
from ..harness.report import Report, ratio_results
from ..harness.training_steps import (
    FUSED_LOSS,
    TASK_HEADS,
    StepBatches,
    compute_loss,
    create_optimizer,
    make_step_batches,
    training_flops,
    training_step,
)

__all__ = ["main"]


def parse(arguments: list[str] | None, prog: str) -> argparse.Namespace:
    parser = tool_parser(
        "train",
        prog,
        "Measure training tokens per second, without padding: forward, backward and fused AdamW. Ours runs with "
        "fused_loss.",
    )
    parser.add_argument("--task", choices=TASK_HEADS, default="causal-lm", help="Training task and kind of batches.")
    add_model_options(parser, ModelSizes(), ["native"], convert_each=True)
    parser.add_argument(
        "--attn_implementation", default="sdpa", help="Attention implementation of ours; peers use sdpa, their default."
    )
    group = parser.add_argument_group("batches")
    add_batch_options(group, batch_size=8, fraction_note=" causal-lm always has full rows.")
    group.add_argument("--steps", type=count, default=2, help="Steps in a round.")
    add_timing_options(parser)
    add_output_options(parser)
    return parse_arguments(parser, arguments)


def main(arguments: list[str] | None = None, prog: str = "hf-tfm bench train") -> None:
    args = parse(arguments, prog)
    run(args, prog)


def run(args: argparse.Namespace, prog: str) -> None:
    report = Report.start("train", args)
    sizes = model_sizes(args, args.length)
    head = TASK_HEADS[args.task]
    compared = compared_models(head, args.peers, sizes, args.recipe, args.convert_each, FUSED_LOSS, args.seed)
    compared.to(args.device)
    for model in compared.ours():
        model.set_attn_implementation(args.attn_implementation)
    report.measure_gemm(compared.hidden_size, args.dtype)
    batches = make_step_batches(args, compared.vocab_size)
    differences = check_equal_outputs(first_losses(compared.models, batches), compared.pairs)
    compared.cast_weights(args.dtype)
    # again in the dtype that is timed: a GPU runs other kernels for half precision
    before = first_losses(compared.models, batches, args.dtype)
    check_equal_outputs(before, compared.pairs, TOLERANCES[args.dtype])
    case = f"{args.task} {compared.hidden_size} {args.dtype}{' compiled' if args.compile else ''}"
    if args.attn_implementation != "sdpa":
        case += f", ours {args.attn_implementation}"
    timed = [timed_model(name, model, batches, args) for name, model in compared.models.items()]
    timings = time_interleaved(timed, compared.pairs, round_settings(args), case, device_clock(args.device))
    report.measure_gemm(compared.hidden_size, args.dtype)
    after = first_losses(compared.models, batches, args.dtype)
    losses = {name: f"{before[name].item():.4f} to {after[name].item():.4f}" for name in before}
    report.add_timings(timings, case, "tokens/s", args.dtype, {"loss of the first batch": losses})
    report.results += ratio_results(timings, compared.pairs, case, args.workload, differences)
    report.notes.append(padding_note(batches))
    flags = "--dtype bf16 --compile" if args.dtype == "fp32" else "--dtype fp32"
    device = report.device_option
    report.finish(args, f"{prog}{device} --task {args.task} {flags}, or `hf-tfm bench all{device}`.")


def padding_note(batches: list[StepBatches]) -> str:
    """How many tokens of the batches are not padding."""
    real = sum(sum(step.source_lengths) for step in batches)
    ours = sum(step.ours["input_ids"].numel() for step in batches)
    peer = sum(step.peer["input_ids"].numel() for step in batches)
    return (
        f"A round has {len(batches)} steps of {real // len(batches)} tokens without padding. Input tokens of a batch "
        f"that are not padding: ours {real / ours:.0%}, peers {real / peer:.0%}."
    )


@torch.no_grad()
def first_losses(models: dict[str, Any], batches: list[StepBatches], dtype: str = "fp32") -> dict[str, torch.Tensor]:
    """Every model's loss on the documents of the first step, nats per label."""
    return {name: compute_loss(model.eval(), batches[0].of_model(name), dtype) for name, model in models.items()}


def timed_model(name: str, model: Any, batches: list[StepBatches], args: argparse.Namespace) -> TimedModel:
    """A model that takes one optimiser step on every batch of a round."""
    optimizer = create_optimizer(model)
    compiled = torch.compile(model) if args.compile else model

    def step(step_batches: StepBatches) -> None:
        model.train()
        training_step(compiled, optimizer, step_batches.of_model(name), args.dtype)

    steps = [lambda step_batches=step_batches: step(step_batches) for step_batches in batches]
    flops = sum(training_flops(model, step_batches) for step_batches in batches)
    return TimedModel(name, steps, sum(step_batches.tokens for step_batches in batches), flops)
