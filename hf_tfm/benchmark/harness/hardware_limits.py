"""Upper limits of this machine, measured with every comparison. Load from other programs shows in them."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

__all__ = ["datasheet_flops_per_second", "device_clock", "gemm_flops_per_second", "read_bytes_per_second"]

# least time that one limit is measured for
SECONDS = 0.4
READ_BYTES = 2**29
# rows of the matrix product, enough to fill the device
GEMM_ROWS = {"cpu": 2048, "cuda": 65536}
# name of a GPU -> dense bf16 operations per second, from its datasheet
DATASHEET_BF16_FLOPS = {
    "NVIDIA A100-SXM4-40GB": 312e12, "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA H100 80GB HBM3": 989.4e12, "NVIDIA H200": 989.4e12,
}  # fmt: skip


def synchronized_clock() -> float:
    """Seconds, after all work of the GPU is done."""
    torch.cuda.synchronize()
    return time.perf_counter()


def device_clock(device: str) -> Callable[[], float]:
    """A clock in seconds that waits for the work of the device."""
    return time.perf_counter if device == "cpu" else synchronized_clock


@torch.inference_mode()
def gemm_flops_per_second(
    width: int, dtype: torch.dtype, device: str = "cpu", rows: int | None = None, seconds: float = SECONDS
) -> float:
    """Operations per second of the product (rows, width) x (width, 4 width), the best of several."""
    rows = rows or GEMM_ROWS[device]
    inputs, weight = (torch.randn(size, width, device=device).to(dtype) for size in (rows, 4 * width))
    return 2 * rows * width * 4 * width / fastest(lambda: F.linear(inputs, weight), seconds, device_clock(device))


@torch.inference_mode()
def read_bytes_per_second(device: str = "cpu", size: int = READ_BYTES, seconds: float = SECONDS) -> float:
    """Bytes per second of reading `size` bytes, more than caches hold, with all threads; the best of several."""
    memory = torch.zeros(size // 8, dtype=torch.float64, device=device)
    return size / fastest(memory.sum, seconds, device_clock(device))


def datasheet_flops_per_second(dtype: str) -> float | None:
    """Dense bf16 operations per second of the first GPU by its datasheet; None for fp32 and for unknown GPUs."""
    return None if dtype == "fp32" else DATASHEET_BF16_FLOPS.get(torch.cuda.get_device_name())


def fastest(call: Callable[[], Any], seconds: float, clock: Callable[[], float]) -> float:
    """Seconds of the fastest call: one warm-up, then at least three, and more until `seconds` have passed."""
    call()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        started = clock()
        call()
        times.append(clock() - started)
    return min(times)
