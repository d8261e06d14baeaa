"""Files that are written whole or not at all, and what a failed write says about the disk."""

import errno
import os
import zlib
from pathlib import Path

__all__ = ["checksum", "is_full_disk", "write_atomically"]

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# torch.save writes by a library that keeps no error number of the system
TORCH_WRITE_ERRORS = ("inline_container.cc", "PytorchStreamWriter failed", "iostream error")


def write_atomically(path: Path, text: str) -> None:
    """Write a text file that is complete even if the process is killed meanwhile, or the machine stops."""
    temporary = path.with_name(f".{path.name}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # atomic
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def checksum(path: Path, sync: bool = False) -> int:
    """CRC-32 of a file. `sync`: also wait until the file is on the disk."""
    value = 0
    with path.open("r+b" if sync else "rb") as file:
        while block := file.read(1 << 20):
            value = zlib.crc32(block, value)
        if sync:
            os.fsync(file.fileno())
    return value


def is_full_disk(error: BaseException | None) -> bool:
    """Whether a write failed because the disk is full, a quota is used up or a file has reached its limit."""
    # safetensors says "(os error 28)"
    texts = (*TORCH_WRITE_ERRORS, *(f"(os error {number})" for number in FULL_DISK))
    while error is not None:
        if getattr(error, "errno", None) in FULL_DISK or any(text in str(error) for text in texts):
            return True
        error = error.__cause__ or error.__context__
    return False
