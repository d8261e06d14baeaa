"""The workloads of `hf-tfm bench`: what each measures, with which options, and its target."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["WORKLOADS", "Workload", "workloads_of_tool", "workloads_on_device"]


@dataclass(frozen=True)
class Workload:
    """One row of `hf-tfm bench all`.

    `tool`: the command, as in `hf-tfm bench TOOL`. `options`: values that differ from the tool's defaults. `targets`:
    peer (a name of --peers, or "" for every peer) -> least ratio of speeds, ours / peer; for memory the largest ratio
    of bytes, for import the most seconds. Workloads on a GPU have no target: their ratios are only reported."""

    tool: str
    description: str
    options: Mapping[str, Any] = field(default_factory=dict)
    targets: Mapping[str, float] = field(default_factory=dict)


def encoder(hidden_size: int, **options: Any) -> dict[str, Any]:
    """Encoder inference: 6 layers at width 384, 12 at 768, 12 heads, BERT's vocabulary size."""
    return {
        "hidden_size": hidden_size, "layers": {384: 6, 768: 12}[hidden_size], "heads": 12, "vocab_size": 30522,
        "peers": ["bert", "modernbert"], **options,
    }  # fmt: skip


UNSORTED, SORTED = "encoder inference, unsorted batches", "encoder inference, peers' batches sorted by length"

BF16: dict[str, Any] = {"dtype": "bf16"}
ONEDNN: dict[str, Any] = {"onednn": True}
GPU: dict[str, Any] = {"device": "cuda"}

# ours is converted from Llama; GPT-2 and x-transformers have the same sizes and other weights
CAUSAL_LM: dict[str, Any] = {"peers": ["llama", "gpt2", "x-transformers"], "convert_each": False}
# in bf16 on CPUs the backward pass of sdpa takes three times as long as matrix products and a compiled softmax
CAUSAL_LM_COMPILED: dict[str, Any] = {**CAUSAL_LM, **BF16, "compile": True, "attn_implementation": "eager_blockwise"}
MASKED_LM: dict[str, Any] = {
    "task": "masked-lm", "hidden_size": 384, "heads": 12, "vocab_size": 30522, "batch_size": 32, "peers": ["bert"],
}  # fmt: skip
# sentences of 28 tokens on average
SEQ2SEQ: dict[str, Any] = {
    "task": "seq2seq", "layers": 4, "length": 128, "mean_length_fraction": 0.22, "batch_size": 32,
    "peers": ["t5", "bart"],
}  # fmt: skip
# one layer: only head and loss run
LOSS_MEMORY: dict[str, Any] = {"part": "loss", "layers": 1, "peers": ["llama"]}
# the defaults of TfmDecoderConfig and train.py
STEP_MEMORY: dict[str, Any] = {
    "part": "step", "hidden_size": 512, "layers": 6, "heads": 8, "vocab_size": 32000, "length": 128, "batch_size": 16,
    "peers": ["llama"],
}  # fmt: skip
GENERATION: dict[str, Any] = {
    "hidden_size": 768, "layers": 12, "heads": 12, "vocab_size": 50257, "peers": ["llama", "gpt2"],
    "convert_each": False,
}  # fmt: skip
STATIC_CACHE: dict[str, Any] = {**GENERATION, "cache": "static"}

# the published size of 124 M weights; ours is converted from every peer
GPU_GPT2: dict[str, Any] = {
    **GPU, **BF16, "hidden_size": 768, "layers": 12, "heads": 12, "vocab_size": 50257, "length": 1024,
    "batch_size": 16, "steps": 4, "peers": ["gpt2", "llama"],
}  # fmt: skip
GPU_ENCODER = encoder(768, **GPU, dtype="bf16-weights", length=512, batch_size=128, batches=4)
GPU_GENERATION: dict[str, Any] = {**GENERATION, **GPU, "dtype": "bf16-weights", "peers": ["llama"]}

WORKLOADS: dict[str, Workload] = {
    "padded-384": Workload("infer", UNSORTED, encoder(384), {"": 2.6}),
    "padded-768": Workload("infer", UNSORTED, encoder(768, batches=1), {"": 2.4}),
    "padded-384-bf16": Workload("infer", UNSORTED, encoder(384, **BF16), {"": 2.5}),
    "padded-768-bf16": Workload("infer", UNSORTED, encoder(768, batches=1, **BF16), {"": 2.3}),
    "sorted-384": Workload("infer", SORTED, encoder(384, peer_order="sorted", batches=8), {"": 1.25}),
    "sorted-768": Workload(
        "infer", SORTED, encoder(768, peer_order="sorted", batches=8, rounds=3, max_rounds=6), {"": 1.1}
    ),
    "sorted-384-onednn": Workload(
        "infer", f"{SORTED}, ours with oneDNN", encoder(384, peer_order="sorted", batches=8, **ONEDNN), {"": 1.25}
    ),
    "masked-lm": Workload("train", "masked-LM training, 15 % labels", MASKED_LM, {"": 2.2}),
    "causal-lm": Workload("train", "causal-LM training, full rows", CAUSAL_LM, {"": 1.0}),
    "causal-lm-bf16": Workload("train", "the same in bf16, compiled", CAUSAL_LM_COMPILED, {"": 1.15}),
    "packed-lm": Workload(
        "train", "causal-LM training, ours packed, peers padded", {"task": "packed-lm"}, {"": 1.5}
    ),
    "seq2seq": Workload("train", "encoder-decoder training, lengths as in translation", SEQ2SEQ, {"": 1.5}),
    "loss-memory": Workload("memory", "memory growth of the loss", LOSS_MEMORY, {"": 0.25}),
    "step-memory": Workload("memory", "memory growth of training the default decoder", STEP_MEMORY, {"": 0.7}),
    "generate": Workload("generate", "greedy generation, dynamic cache", GENERATION, {"llama": 1.0}),
    "generate-onednn": Workload("generate", "the same, ours with oneDNN", {**GENERATION, **ONEDNN}, {"llama": 1.0}),
    "generate-static": Workload("generate", "greedy generation, static cache, compiled", STATIC_CACHE, {"llama": 1.3}),
    "generate-static-onednn": Workload(
        "generate", "the same, ours with oneDNN", {**STATIC_CACHE, **ONEDNN}, {"llama": 1.3}
    ),
    "import": Workload("import", "seconds that import hf_tfm adds", {}, {"": 0.15}),
    "gpu-causal-lm": Workload("train", "causal-LM training, 124 M weights", GPU_GPT2),
    "gpu-causal-lm-compiled": Workload(
        "train", "the same, compiled", {**GPU_GPT2, "compile": True, "attn_implementation": "sdpa_sliding_window"}
    ),
    "gpu-packed-lm": Workload(
        "train", "the same, short documents, ours packed, peers padded",
        {**GPU_GPT2, "task": "packed-lm", "peers": ["llama"]},
    ),
    "gpu-masked-lm": Workload(
        "train", "masked-LM training, 15 % labels",
        {**GPU_GPT2, "task": "masked-lm", "vocab_size": 30522, "length": 512, "batch_size": 64, "peers": ["bert"]},
    ),
    "gpu-padded": Workload("infer", UNSORTED, GPU_ENCODER),
    "gpu-sorted": Workload("infer", SORTED, {**GPU_ENCODER, "peer_order": "sorted"}),
    "gpu-generate": Workload("generate", "greedy generation, dynamic cache", GPU_GENERATION),
    "gpu-generate-static": Workload(
        "generate", "greedy generation, static cache, compiled", {**GPU_GENERATION, "cache": "static"}
    ),
    "gpu-loss-memory": Workload(
        "memory", "memory growth of the loss", {**GPU, **BF16, **LOSS_MEMORY, "length": 1024, "batch_size": 16}
    ),
}  # fmt: skip


def workloads_of_tool(tool: str) -> list[str]:
    return [name for name, workload in WORKLOADS.items() if workload.tool == tool]


def workloads_on_device(device: str) -> list[str]:
    return [name for name, workload in WORKLOADS.items() if workload.options.get("device", "cpu") == device]
