"""`hf-tfm bench infer`: encoder inference on sentences of real lengths, compared with native models of the same
weights."""

import argparse
from typing import Any

import torch

from ...inspection.flops import attention_flops, count_matmul_parameters
from ..harness.batches import Batch, chunks, lognormal_lengths, move_batch, pad_sequences, random_sequences
from ..harness.hardware_limits import device_clock
from ..harness.interleaved_timing import TimedModel, time_interleaved
from ..harness.model_pairs import TOLERANCES, ComparedModels, check_equal_outputs, compared_models
from ..harness.options import (
    add_batch_options,
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
from ..harness.peer_models import ModelSizes
from ..harness.report import Report, ratio_results

__all__ = ["main"]


def parse(arguments: list[str] | None, prog: str) -> argparse.Namespace:
    parser = tool_parser(
        "infer", prog, "Measure sentences per second of encoders, ours and native ones of the same weights."
    )
    add_model_options(parser, ModelSizes(384, 6, 12, 30522), ["bert", "modernbert"], convert_each=True)
    group = parser.add_argument_group("sentences")
    add_batch_options(group, batch_size=32)
    group.add_argument("--batches", type=count, default=2, help="Batches in a round.")
    group.add_argument(
        "--peer_order", choices=("unsorted", "sorted"), default="unsorted",
        help="Order of the sentences in peers' batches; sorted by length they need little padding. Ours are unsorted.",
    )  # fmt: skip
    add_onednn_option(group)
    add_timing_options(parser)
    add_output_options(parser)
    return parse_arguments(parser, arguments)


def main(arguments: list[str] | None = None, prog: str = "hf-tfm bench infer") -> None:
    args = parse(arguments, prog)
    run(args, prog)


def run(args: argparse.Namespace, prog: str) -> None:
    report = Report.start("infer", args)
    compared = compared_models(
        "base", args.peers, model_sizes(args, args.length), args.recipe, args.convert_each, {}, args.seed
    )
    refuse_encoder_decoders(compared)
    compared.to(args.device)
    onednn_note = apply_onednn(compared.ours(), args)
    report.measure_gemm(compared.hidden_size, args.dtype)
    lengths = lognormal_lengths(args.batches * args.batch_size, args.length, args.mean_length_fraction, args.seed)
    sentences = random_sequences(lengths, compared.vocab_size)
    unsorted = make_batches(sentences, args)
    by_length = make_batches(sorted(sentences, key=len), args)
    differences = check_equal_outputs(encode_all(compared, unsorted[0]), compared.pairs)
    compared.cast_weights(args.dtype)
    # again in the dtype that is timed: a GPU runs other kernels for half precision
    check_equal_outputs(encode_all(compared, unsorted[0], args.dtype), compared.pairs, TOLERANCES[args.dtype])
    timed = []
    for name, model in compared.models.items():
        batches = by_length if args.peer_order == "sorted" and not name.startswith("ours") else unsorted
        timed.append(timed_model(name, model, batches, lengths, args))
    case = f"{args.peer_order} {compared.hidden_size} {args.dtype}{onednn_note}"
    timings = time_interleaved(timed, compared.pairs, round_settings(args), case, device_clock(args.device))
    report.measure_gemm(compared.hidden_size, args.dtype)
    report.add_timings(timings, case, "sentences/s", args.dtype)
    report.results += ratio_results(timings, compared.pairs, case, args.workload, differences)
    real = sum(lengths)
    report.notes.append(
        f"{len(lengths)} sentences, mean length {real / len(lengths) / args.length:.0%} of {args.length} tokens. "
        f"Tokens of a batch that are not padding: {real / token_count(unsorted):.0%} unsorted, "
        f"{real / token_count(by_length):.0%} sorted."
    )
    order = "unsorted" if args.peer_order == "sorted" else "sorted"
    device = report.device_option
    report.finish(args, f"{prog}{device} --peer_order {order} --batches 8, or `hf-tfm bench all{device}`.")


def refuse_encoder_decoders(compared: ComparedModels) -> None:
    names = [name for name, model in compared.models.items() if model.config.is_encoder_decoder]
    if names:
        raise ValueError(
            f"{', '.join(names)}: an encoder-decoder, but this tool measures encoders; use `hf-tfm bench train --task "
            "seq2seq`."
        )


def make_batches(sentences: list[torch.Tensor], args: argparse.Namespace) -> list[Batch]:
    return [move_batch(pad_sequences(part, 0), args.device) for part in chunks(sentences, args.batch_size)]


def token_count(batches: list[Batch]) -> int:
    """Tokens of all batches, padding included."""
    return sum(batch["input_ids"].numel() for batch in batches)


@torch.inference_mode()
def encode_all(compared: ComparedModels, batch: Batch, dtype: str = "fp32") -> dict[str, torch.Tensor]:
    """Every model's hidden states of the batch without padding, (tokens, C)."""
    outputs = {}
    for name, model in compared.models.items():
        with autocast(dtype, batch["input_ids"].device):
            outputs[name] = model.eval()(**batch).last_hidden_state[batch["attention_mask"] == 1]
    return outputs


def timed_model(
    name: str, model: Any, batches: list[Batch], lengths: list[int], args: argparse.Namespace
) -> TimedModel:
    """A model that reads every batch once in a round."""
    model.eval()
    compiled = torch.compile(model) if args.compile else model

    @torch.inference_mode()
    def read(batch: Batch) -> None:
        with autocast(args.dtype, batch["input_ids"].device):
            compiled(**batch)

    flops = count_matmul_parameters(model).forward_flops(sum(lengths), 0, 0) + attention_flops(model.config, lengths)
    return TimedModel(name, [lambda batch=batch: read(batch) for batch in batches], len(lengths), flops)
