"""What this machine can do at most, measured beside every comparison: a neighbour's load shows here."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

__all__ = ["Counts", "attention_flops", "clock_of", "gemm_rate", "matmul_parameters", "peak_rate", "read_rate",
           "weight_bytes"]  # fmt: skip

# seconds that one ceiling is measured for, at least
SECONDS = 0.4
READ_BYTES = 2**29
# rows of the matrix product, enough to fill the device
TOKENS = {"cpu": 2048, "cuda": 65536}
# name of a GPU -> bf16 operations per second, dense, from its datasheet
PEAKS = {
    "NVIDIA A100-SXM4-40GB": 312e12, "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA H100 80GB HBM3": 989.4e12, "NVIDIA H200": 989.4e12,
}  # fmt: skip
# keys and values of cross-attention: in the decoder by name, but computed for the source's tokens
OF_THE_SOURCE = ("EncDecAttention.k", "EncDecAttention.v", "encoder_attn.k_proj", "encoder_attn.v_proj",
                 "cross_attn.k_proj", "cross_attn.v_proj")  # fmt: skip


def clock_of(device: str) -> Callable[[], float]:
    """Seconds, once all that was asked of the device is done."""
    if device == "cpu":
        return time.perf_counter

    def clock() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return clock


@torch.inference_mode()
def gemm_rate(
    width: int, dtype: torch.dtype, device: str = "cpu", tokens: int | None = None, seconds: float = SECONDS
) -> float:
    """Floating-point operations per second of tokens x width times width x 4 width, the best of many."""
    tokens = tokens or TOKENS[device]
    rows, weight = (torch.randn(size, width, device=device).to(dtype) for size in (tokens, 4 * width))
    return 2 * tokens * width * 4 * width / fastest(lambda: F.linear(rows, weight), seconds, clock_of(device))


@torch.inference_mode()
def read_rate(device: str = "cpu", size: int = READ_BYTES, seconds: float = SECONDS) -> float:
    """Bytes per second of a plain read by all threads, the best of many; `size` bytes, more than caches hold."""
    memory = torch.zeros(size // 8, dtype=torch.float64, device=device)
    return size / fastest(memory.sum, seconds, clock_of(device))


def peak_rate(dtype: str) -> float | None:
    """Operations per second that the maker of the first GPU states for dense products in bf16; None where unknown."""
    return None if dtype == "fp32" else PEAKS.get(torch.cuda.get_device_name())


def fastest(call: Callable[[], Any], seconds: float, clock: Callable[[], float]) -> float:
    """Seconds of the fastest of the calls that fit into `seconds`, three at least, the first not counted."""
    call()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        started = clock()
        call()
        times.append(clock() - started)
    return min(times)


def matrices(model: Any) -> dict[str, torch.Tensor]:
    """Weights that multiply, by the name of their module: vocabulary head included, tables that are looked up not."""
    modules = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]
    found = {name: model.get_parameter(f"{name}.weight") for name in modules}
    tied = getattr(model, "tied_head", None)
    return found if tied is None else {**found, "tied_head": tied}


class Counts(NamedTuple):
    """Elements of matrices: of those that every source token meets, every target token (0 without a decoder beside an
    encoder), and every word that is predicted."""

    source: int
    target: int
    head: int

    def flops(self, sources: int, targets: int, predicted: int) -> float:
        """Operations of one forward pass over so many tokens: two for every element and token."""
        return 2.0 * (self.source * sources + self.target * targets + self.head * predicted)


def matmul_parameters(model: Any) -> Counts:
    """The matrices of a model, counted. The head is what has a row for every word of the vocabulary."""
    pair, words = getattr(model.config, "is_encoder_decoder", False), model.config.vocab_size
    counts = {"source": 0, "target": 0, "head": 0}
    for name, weight in matrices(model).items():
        late = pair and "decoder." in name and not name.endswith(OF_THE_SOURCE)
        kind = "head" if weight.shape[0] == words else "target" if late else "source"
        counts[kind] += weight.numel()
    return Counts(**counts)


def weight_bytes(model: nn.Module) -> int:
    """Bytes of the matrices, which generating one token reads once."""
    return sum(weight.numel() * weight.element_size() for weight in matrices(model).values())


def attention_flops(config: Any, sources: list[int], targets: list[int] | None = None) -> float:
    """Operations of scores and weighted sums of one forward pass over sequences of these lengths, tokens: 4 T S width
    in every layer, without a causal discount."""
    width, layers = config.hidden_size, config.num_hidden_layers
    own = sum(length**2 for length in sources) * layers
    if targets is None:
        return 4.0 * width * own
    below = getattr(config, "decoder_layers", None) or getattr(config, "num_decoder_layers", layers)
    both = sum(target * (target + source) for source, target in zip(sources, targets, strict=True))
    return 4.0 * width * (own + both * below)
