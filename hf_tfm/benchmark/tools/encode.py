"""`hf-tfm bench encode CHECKPOINT`: sentence vectors per second of an encoder on a CPU: ours in float32, bf16 and 8-bit
integers beside the native class, ONNX Runtime and OpenVINO, on real sentences."""

import argparse
import copy
import random
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from hf_tfm.conversion import from_native
from hf_tfm.conversion.native_checkpoints import load_native
from hf_tfm.cpu_inference import use_int8

from ...inspection.flops import attention_flops, count_matmul_parameters
from ...training.builtin_data.stdlib_corpus import read_stdlib_corpus
from ..harness.batches import Batch, chunks, pad_sequences
from ..harness.inference_engines import ENGINES, Encode, export_onnx
from ..harness.interleaved_timing import ModelPair, RoundSettings, TimedModel, time_interleaved
from ..harness.model_pairs import check_equal_outputs
from ..harness.options import add_output_options, count, parse_arguments, tool_parser
from ..harness.report import Report, ratio_results

__all__ = ["main"]

NATIVE, OURS, OURS_BF16, OURS_INT8 = "native", "ours", "ours bf16 weights", "ours int8"
MIN_WORDS = 4


def parse(arguments: list[str] | None, prog: str) -> argparse.Namespace:
    parser = tool_parser("encode", prog, __doc__ or "")
    parser.add_argument("checkpoint", help="A native encoder: folder or Hub name.")
    parser.add_argument("--engines", nargs="*", choices=list(ENGINES), default=list(ENGINES), help="Peers besides it.")
    parser.add_argument(
        "--texts", type=Path, help="A text per line. Without it: paragraphs of Python's own documentation."
    )
    parser.add_argument("--length", type=count, default=256, help="Longest text, tokens; what is longer is cut.")
    parser.add_argument("--batch_size", type=count, default=32, help="Texts in a batch.")
    parser.add_argument("--batches", type=count, default=8, help="Batches in a round.")
    parser.add_argument("--rounds", type=count, default=RoundSettings.rounds, help="Number of counted rounds.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the choice of texts.")
    add_output_options(parser)
    parser.set_defaults(threads=1, device="cpu")
    return parse_arguments(parser, arguments)


def main(arguments: list[str] | None = None, prog: str = "hf-tfm bench encode") -> None:
    args = parse(arguments, prog)
    report = Report.start("encode", args)
    tokenized = tokenize(args)
    native = load_native(args.checkpoint, "base", torch.float32).model.eval()
    ours = from_native(native).eval()
    report.measure_gemm(ours.config.hidden_size, "fp32")
    with tempfile.TemporaryDirectory() as folder:
        encoders = open_encoders(native, ours, args, Path(folder))
        for case, texts in (("as they come", tokenized), ("sorted by length", sorted(tokenized, key=len))):
            measure(
                report, encoders, [pad_sequences(part, 0) for part in chunks(texts, args.batch_size)], ours, case, args
            )
    report.measure_gemm(ours.config.hidden_size, "fp32")
    real = sum(map(len, tokenized))
    report.notes.append(f"{len(tokenized)} texts, {real / len(tokenized):.0f} tokens on average. Without tokenisation.")
    report.finish(args, f"hf-tfm convert {args.checkpoint} FOLDER, and use_int8 of hf_tfm.cpu_inference on its model.")


def tokenize(args: argparse.Namespace) -> list[torch.Tensor]:
    """Token ids (T,) of the texts. Raises ValueError if there are too few of them."""
    if args.texts:
        texts = [line for line in args.texts.read_text(encoding="utf-8").splitlines() if line.strip()]
    else:
        paragraphs = [" ".join(part.split()) for text in read_stdlib_corpus() for part in text.split("\n\n")]
        texts = [text for text in dict.fromkeys(paragraphs) if len(text.split()) >= MIN_WORDS]
    wanted = args.batch_size * args.batches
    if len(texts) < wanted:
        raise ValueError(
            f"{args.texts}: {len(texts)} texts, but --batches x --batch_size = {wanted}; lower one of them."
        )
    tokenizer = AutoTokenizer.from_pretrained(args.checkpoint)
    chosen = random.Random(args.seed).sample(texts, wanted)
    return [torch.tensor(ids) for ids in tokenizer(chosen, truncation=True, max_length=args.length)["input_ids"]]


def open_encoders(native: Any, ours: Any, args: argparse.Namespace, folder: Path) -> dict[str, Encode]:
    """What encodes a batch, by name; of the same weights all."""
    models = {
        NATIVE: native,
        OURS: ours,
        OURS_BF16: copy.deepcopy(ours).bfloat16(),
        OURS_INT8: use_int8(copy.deepcopy(ours)),
    }
    encoders = {name: encode_with(model) for name, model in models.items()}
    if args.engines:
        # as other exporters do
        eager = load_native(args.checkpoint, "base", torch.float32, attn_implementation="eager").model
        path = export_onnx(eager, folder / "encoder.onnx")
        encoders |= {name: ENGINES[name](path, args.threads) for name in args.engines}
    return encoders


def encode_with(model: Any) -> Encode:
    @torch.inference_mode()
    def encode(batch: Batch) -> torch.Tensor:
        return model(**batch).last_hidden_state

    return encode


def measure(
    report: Report, encoders: dict[str, Encode], batches: list[Batch], ours: Any, case: str, args: argparse.Namespace
) -> None:
    """Time all encoders on the same batches, and add how near their vectors are to native ones."""
    pairs = [ModelPair(OURS, NATIVE)]
    for name in args.engines:
        pairs.append(ModelPair(OURS_INT8, name, False) if name.endswith("int8") else ModelPair(OURS, name))
    states = {name: encode(batches[0]) for name, encode in encoders.items()}
    is_real = batches[0]["attention_mask"] == 1
    differences = check_equal_outputs({name: value[is_real] for name, value in states.items()}, pairs)
    vectors = {name: mean_vectors(value, batches[0]["attention_mask"]) for name, value in states.items()}
    cosines = {name: torch.cosine_similarity(value, vectors[NATIVE]) for name, value in vectors.items()}
    lengths = [int(length) for batch in batches for length in batch["attention_mask"].sum(-1)]
    flops = count_matmul_parameters(ours).forward_flops(sum(lengths), 0, 0) + attention_flops(ours.config, lengths)
    timed = [
        TimedModel(name, [lambda batch=batch, encode=encode: encode(batch) for batch in batches], len(lengths), flops)
        for name, encode in encoders.items()
    ]
    settings = RoundSettings(rounds=args.rounds, max_rounds=max(args.rounds, RoundSettings.max_rounds))
    timings = time_interleaved(timed, pairs, settings, case)
    columns = {
        "least cosine to native": {name: f"{value.min():.4f}" for name, value in cosines.items()},
        "mean": {name: f"{value.mean():.4f}" for name, value in cosines.items()},
    }
    report.add_timings(timings, case, "texts/s", "fp32", columns)
    report.results += ratio_results(timings, pairs, case, args.workload, differences)


def mean_vectors(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Means of real tokens, (B, C)."""
    weights = mask.unsqueeze(-1).float()
    return (states.float() * weights).sum(1) / weights.sum(1)
