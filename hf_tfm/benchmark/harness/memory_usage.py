"""Resident memory of this process, and memory that tensors take on a GPU."""

import gc
import sys
from pathlib import Path

import torch

__all__ = ["GIB", "peak_growth", "peak_resident_bytes", "start_peak_growth"]

GIB = 2**30

# Linux' own files: psutil has no peak of a process there, and no way to reset it
LINUX_STATUS = Path("/proc/self/status")
LINUX_RESET = Path("/proc/self/clear_refs")


def peak_resident_bytes() -> int:
    """The most resident memory that this process has held so far, bytes."""
    # not getrusage, whose peak on Linux includes that of the process which started this one
    if LINUX_STATUS.exists():
        line = next(line for line in LINUX_STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def start_peak_growth(device: str = "cpu") -> int:
    """Return freed memory to the system and reset the peak. Returns the bytes held now, for `peak_growth`."""
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    # here, so that tools which do not use it run without the bench extra
    import psutil

    try:
        psutil.heap_trim()
        LINUX_RESET.write_text("5")
    except (OSError, AttributeError):
        # systems other than Linux, some containers and musl keep earlier peaks: growth counts from the highest of them
        return peak_resident_bytes()
    return psutil.Process().memory_info().rss


def peak_growth(start: int, device: str = "cpu") -> int:
    """Bytes by which the peak since `start_peak_growth` exceeds the bytes held then; on a GPU, those of tensors."""
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else peak_resident_bytes()
    return max(0, peak - start)
