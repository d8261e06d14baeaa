"""Files that are written whole or not at all, and what failed writes and reads say."""

import errno
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError

__all__ = ["checksum", "is_full_disk", "one_line_read_errors", "write_atomically"]

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


@contextmanager
def one_line_read_errors(what: str, source: str) -> Iterator[None]:
    """Raises ValueError, in one line, for whatever transformers raises while it reads a checkpoint whose files are
    damaged or hold other kinds of values than it expects. Errors of a configuration's fields name their cause."""
    try:
        yield
    except (MemoryError, StrictDataclassError):
        raise
    except Exception as error:
        kind = "" if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: "
        line = next(iter(str(error).splitlines()), "")
        raise ValueError(f"No {what} could be read from {source}: {kind}{line}") from error


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
