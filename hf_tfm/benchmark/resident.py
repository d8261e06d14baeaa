"""Resident memory of a process, or that of its tensors on a GPU; and processes of their own for what must not inherit
anybody's memory."""

import ctypes
import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

__all__ = ["begin_growth", "growth", "in_fresh_process", "peak_bytes", "resident_bytes"]

STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")


def in_fresh_process(module: str, point: Any, described: str) -> Any:
    """What `python -m module POINT`, POINT in JSON, prints in its last line, also JSON.
    Raises RuntimeError with the end of its messages if it fails."""
    command = [sys.executable, "-m", module, json.dumps(point)]
    # this package's parent folder first, so that the process measures the code that asked for it
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        cause = "it was killed, most likely for memory" if done.returncode == -9 else done.stderr[-2000:]
        raise RuntimeError(f"The process that measured {described} ended with status {done.returncode}: {cause}")
    return json.loads(done.stdout.splitlines()[-1])


def of_status(word: str) -> int | None:
    """Bytes that Linux tells of this process; None elsewhere."""
    if not STATUS.exists():
        return None
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(word))
    return int(line.split()[1]) * 1024


def peak_bytes() -> int:
    """The most memory this process has held so far, bytes of resident set."""
    # getrusage's number begins with that of the process which started this one
    found = of_status("VmHWM")
    if found is not None:
        return found
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_bytes() -> int:
    """What this process holds now; where the system does not tell, the most it has held."""
    found = of_status("VmRSS")
    return peak_bytes() if found is None else found


def begin_growth(device: str = "cpu") -> int:
    """Give back what was freed and forget earlier peaks; the bytes that are held now, for `growth`."""
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        RESET.write_text("5")
    except (OSError, AttributeError):
        # elsewhere earlier peaks stay: growth counts from the highest of them
        return peak_bytes()
    return resident_bytes()


def growth(begun: int, device: str = "cpu") -> int:
    """Bytes by which the peak since `begin_growth` exceeds what was held then; on a GPU, of what tensors take."""
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else peak_bytes()
    return max(0, peak - begun)
