"""`hf-tfm bench memory`: growth of memory at its peak, every model in a process of its own."""

import argparse
import statistics
from dataclasses import asdict
from typing import Any

from tqdm.auto import tqdm

from ..harness.interleaved_timing import spread
from ..harness.memory_usage import GIB
from ..harness.options import (
    add_batch_options,
    add_device_options,
    add_model_options,
    add_output_options,
    count,
    parse_arguments,
    tool_parser,
)
from ..harness.peer_models import ModelSizes
from ..harness.report import Report, Result, target_for
from ..harness.subprocesses import run_module_in_fresh_process
from ..harness.training_steps import TASK_HEADS
from .memory_worker import PARTS, MemorySettings

__all__ = ["main"]

# largest relative difference of the losses that rounding explains
LOSS_TOLERANCES = {"fp32": 1e-3, "bf16": 2e-2, "bf16-weights": 2e-2}


def parse(arguments: list[str] | None, prog: str) -> argparse.Namespace:
    parser = tool_parser(
        "memory",
        prog,
        "Measure how far the memory of a process grows at its peak; with --device cuda, the memory of tensors on the "
        "GPU. Ours runs with fused_loss.",
    )
    parser.add_argument(
        "--part", choices=PARTS, default="step",
        help="step: a training step with AdamW; its state and all gradients count. loss: from final hidden states "
        "to their gradient; the gradients of the weights exist before and do not count.",
    )  # fmt: skip
    parser.add_argument("--task", choices=TASK_HEADS, default="causal-lm", help="Training task and kind of batches.")
    add_model_options(parser, ModelSizes(768, 12, 12, 50257), ["native"], convert_each=True)
    group = parser.add_argument_group("batches")
    add_batch_options(group, batch_size=8, fraction_note=" causal-lm always has full rows.")
    group.add_argument("--steps", type=count, default=2, help="Steps over which the peak is taken.")
    parser.add_argument("--rounds", type=count, default=3, help="Processes per model.")
    add_device_options(parser)
    add_output_options(parser)
    return parse_arguments(parser, arguments)


def main(arguments: list[str] | None = None, prog: str = "hf-tfm bench memory") -> None:
    args = parse(arguments, prog)
    run(args, prog)


def run(args: argparse.Namespace, prog: str) -> None:
    if args.part == "loss" and args.task == "seq2seq":
        raise ValueError("--part loss does not measure encoder-decoders: give --part step, or another --task.")
    report = Report.start("memory", args)
    case = f"{args.part}, {args.task} {args.hidden_size} {args.dtype}"
    sides = [(peer, ours) for peer in args.peers for ours in (True, False)]
    measured: dict[tuple[str, bool], list[dict[str, Any]]] = {side: [] for side in sides}
    with tqdm(total=args.rounds * len(sides), desc=case, unit="process", leave=False) as progress:
        for _ in range(args.rounds):
            for peer, ours in sides:
                measured[peer, ours].append(measure_in_fresh_process(peer, ours, args))
                progress.update()
    for peer in args.peers:
        add_comparison(report, case, measured[peer, True], measured[peer, False], args)
    other_part = "step" if args.part == "loss" else "loss"
    device = report.device_option
    report.finish(args, f"{prog}{device} --part {other_part}, or `hf-tfm bench all{device}`.")


def measure_in_fresh_process(peer: str, ours: bool, args: argparse.Namespace) -> dict[str, Any]:
    """What `memory_worker` measures of our model (`ours`) or of the peer."""
    options = {name: getattr(args, name) for name in asdict(MemorySettings()) if hasattr(args, name)}
    settings = MemorySettings(**options, peer=peer, ours=ours)
    description = f"ours compared with {peer}" if ours else peer
    return run_module_in_fresh_process("hf_tfm.benchmark.tools.memory_worker", asdict(settings), description)


def add_comparison(
    report: Report, case: str, ours: list[dict[str, Any]], peer: list[dict[str, Any]], args: argparse.Namespace
) -> None:
    """Add the growths of our model and a peer, process by process, and their ratio."""
    name = peer[0]["peer_name"]
    growths = {"ours": [one["growth_bytes"] for one in ours], name: [one["growth_bytes"] for one in peer]}
    report.results.append(memory_result(case, name, ours, peer, args))
    report.models += [{"case": case, "model": model, "growth_bytes": sizes} for model, sizes in growths.items()]
    texts = [f"{model} {statistics.median(sizes) / GIB:.3f} GiB" for model, sizes in growths.items()]
    report.notes.append(f"{case}: {', '.join(texts)} more than the process with imports, model and batches.")


def memory_result(
    case: str, peer_name: str, ours: list[dict[str, Any]], peer: list[dict[str, Any]], args: argparse.Namespace
) -> Result:
    """The median ratio of growths. Raises ValueError if models of the same weights have different losses."""
    ratios = [one["growth_bytes"] / other["growth_bytes"] for one, other in zip(ours, peer, strict=True)]
    difference = abs(ours[0]["loss"] / peer[0]["loss"] - 1)
    same_weights = ours[0]["same_weights"]
    if same_weights and not difference <= LOSS_TOLERANCES[args.dtype]:
        raise ValueError(
            f"ours and {peer_name} hold the same weights, but their losses differ by {difference:.1e} (allowed: "
            f"{LOSS_TOLERANCES[args.dtype]:g}). A ratio of their memory would mean nothing."
        )
    return Result(
        case, "ours", peer_name, statistics.median(ratios), spread(ratios), len(ratios), unit="bytes",
        difference=difference if same_weights else None, target=target_for(args.workload, peer_name),
        higher_is_better=False,
    )  # fmt: skip
