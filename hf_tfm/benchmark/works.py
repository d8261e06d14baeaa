"""The works of `hf-tfm bench`: what each measures, with which options, and the ratio that ours must reach."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["WORKS", "Work", "works_of", "works_on"]


@dataclass(frozen=True)
class Work:
    """One row. `tool`: a word of `hf-tfm bench`. `options`: its options where they are not the tool's defaults.
    `targets`: peer (a word of --against, or "" for every one) -> least ratio of speeds, ours / theirs; for memory the
    largest ratio of bytes, for import the most seconds; none on GPUs, where ratios are only reported."""

    tool: str
    says: str
    options: Mapping[str, Any] = field(default_factory=dict)
    targets: Mapping[str, float] = field(default_factory=dict)


def encoder(width: int, **options: Any) -> dict[str, Any]:
    """Encoder inference: 6 layers at 384, 12 at 768, 12 heads, vocabulary of BERT."""
    return {
        "hidden_size": width, "layers": {384: 6, 768: 12}[width], "heads": 12, "vocab_size": 30522,
        "against": ["bert", "modernbert"], **options,
    }  # fmt: skip


# ours has Llama's shape and weights; the others are of that shape
DECODERS: dict[str, Any] = {"against": ["llama", "gpt2", "x-transformers"], "each": False}
MASKED: dict[str, Any] = {
    "task": "masked-lm", "hidden_size": 384, "heads": 12, "vocab_size": 30522, "batch_size": 32, "against": ["bert"],
}  # fmt: skip
# sentences of 28 tokens on average
PAIRS: dict[str, Any] = {
    "task": "seq2seq", "layers": 4, "length": 128, "fill": 0.22, "batch_size": 32, "against": ["t5", "bart"],
}  # fmt: skip
# one layer: nothing but the head is run
LOSS: dict[str, Any] = {"part": "loss", "layers": 1, "against": ["llama"]}
# TfmDecoderConfig and train.py as they come
STEP: dict[str, Any] = {
    "part": "step", "hidden_size": 512, "layers": 6, "heads": 8, "vocab_size": 32000, "length": 128, "batch_size": 16,
    "against": ["llama"],
}  # fmt: skip
WRITERS: dict[str, Any] = {
    "hidden_size": 768, "layers": 12, "heads": 12, "vocab_size": 50257, "against": ["llama", "gpt2"], "each": False,
}  # fmt: skip

COME, SORTED = "encoder, batches as they come", "encoder, peers' batches sorted by length"
HALF: dict[str, Any] = {"dtype": "bf16"}
ONEDNN: dict[str, Any] = {"onednn": True}
STATIC: dict[str, Any] = {**WRITERS, "cache": "static"}

# in bf16 the backward pass of sdpa takes three times as long on CPUs as products and a compiled softmax
COMPILED: dict[str, Any] = {**DECODERS, **HALF, "compile": True, "attention": "eager_blocks"}

GPU: dict[str, Any] = {"device": "cuda"}
# 124 M weights, as published; ours is converted from every peer
GPT2: dict[str, Any] = {
    **GPU, **HALF, "hidden_size": 768, "layers": 12, "heads": 12, "vocab_size": 50257, "length": 1024,
    "batch_size": 16, "steps": 4, "against": ["gpt2", "llama"],
}  # fmt: skip
READERS = encoder(768, **GPU, dtype="bf16-weights", length=512, batch_size=128, batches=4)
GPU_WRITERS: dict[str, Any] = {**WRITERS, **GPU, "dtype": "bf16-weights", "against": ["llama"]}

WORKS: dict[str, Work] = {
    "padded-384": Work("infer", COME, encoder(384), {"": 2.6}),
    "padded-768": Work("infer", COME, encoder(768, batches=1), {"": 2.4}),
    "padded-384-bf16": Work("infer", COME, encoder(384, **HALF), {"": 2.5}),
    "padded-768-bf16": Work("infer", COME, encoder(768, batches=1, **HALF), {"": 2.3}),
    "sorted-384": Work("infer", SORTED, encoder(384, order="sorted", batches=8), {"": 1.25}),
    "sorted-768": Work("infer", SORTED, encoder(768, order="sorted", batches=8, rounds=3, most_rounds=6), {"": 1.1}),
    "sorted-384-onednn": Work("infer", f"{SORTED}, ours by oneDNN",
                              encoder(384, order="sorted", batches=8, **ONEDNN), {"": 1.25}),
    "masked-lm": Work("train", "masked-LM training, 15 % labels", MASKED, {"": 2.2}),
    "causal-lm": Work("train", "causal LM training, full rows", DECODERS, {"": 1.0}),
    "causal-lm-bf16": Work("train", "the same, compiled", COMPILED, {"": 1.15}),
    "packed-lm": Work("train", "causal LM training, packed against padded", {"task": "packed-lm"}, {"": 1.5}),
    "seq2seq": Work("train", "encoder-decoder training, translation-like lengths", PAIRS, {"": 1.5}),
    "loss-memory": Work("memory", "growth of memory in the loss", LOSS, {"": 0.25}),
    "step-memory": Work("memory", "growth of memory in training the default decoder", STEP, {"": 0.7}),
    "generate": Work("generate", "greedy generation, dynamic cache", WRITERS, {"llama": 1.0}),
    "generate-onednn": Work("generate", "the same, ours by oneDNN", {**WRITERS, **ONEDNN}, {"llama": 1.0}),
    "generate-static": Work("generate", "static cache, compiled", STATIC, {"llama": 1.3}),
    "generate-static-onednn": Work("generate", "the same, ours by oneDNN", {**STATIC, **ONEDNN}, {"llama": 1.3}),
    "import": Work("import", "seconds that import hf_tfm adds", {}, {"": 0.15}),
    "gpu-causal-lm": Work("train", "causal LM training, 124 M", GPT2),
    "gpu-causal-lm-compiled": Work("train", "the same, compiled",
                                   {**GPT2, "compile": True, "attention": "sdpa_banded"}),
    "gpu-packed-lm": Work("train", "the same, short documents packed against padded",
                          {**GPT2, "task": "packed-lm", "against": ["llama"]}),
    "gpu-masked-lm": Work("train", "masked-LM training, 15 % labels",
                          {**GPT2, "task": "masked-lm", "vocab_size": 30522, "length": 512, "batch_size": 64,
                           "against": ["bert"]}),
    "gpu-padded": Work("infer", COME, READERS),
    "gpu-sorted": Work("infer", SORTED, {**READERS, "order": "sorted"}),
    "gpu-generate": Work("generate", "greedy generation, dynamic cache", GPU_WRITERS),
    "gpu-generate-static": Work("generate", "static cache, compiled", {**GPU_WRITERS, "cache": "static"}),
    "gpu-loss-memory": Work("memory", "growth of memory in the loss",
                            {**GPU, **HALF, **LOSS, "length": 1024, "batch_size": 16}),
}  # fmt: skip


def works_of(tool: str) -> list[str]:
    return [name for name, work in WORKS.items() if work.tool == tool]


def works_on(device: str) -> list[str]:
    return [name for name, work in WORKS.items() if work.options.get("device", "cpu") == device]
