"""The most memory that a run has had at a time."""

import math
import sys

import torch

try:
    import resource
except ImportError:
    # Windows: not measured
    resource = None

__all__ = ["PEAK_MEMORY", "peak_memory"]

# name among the results
PEAK_MEMORY = "train_peak_memory_bytes"


def peak_memory(device: torch.device) -> float:
    """Bytes: of tensors on a GPU, elsewhere of the whole process, its libraries included; NaN if it is unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if resource is None:
        return math.nan
    # kilobytes on Linux, bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
