"""A lock that keeps a second process out of the output directory of a running one."""

import os
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:
    # Windows: nothing is locked
    fcntl = None

__all__ = ["LOCK_FILE", "DirectoryLock"]

# Trainer pushes no name with a leading underscore.
LOCK_FILE = "_lock"


class DirectoryLock:
    """A lock on a file in a folder. The system releases it when the process ends, however it ends.

    It is a record lock, not `flock` as in the package filelock: processes that this one forked, such as those that load
    data, do not inherit it, so none of them holds it after a crash. File systems without locks are not locked."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK_FILE
        self.file: IO[str] | None = None

    def acquire(self) -> None:
        """Raises BlockingIOError if another process has the lock."""
        while fcntl is not None:
            self.file = self.path.open("a+", encoding="utf-8")
            try:
                fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError) as error:
                self.file.seek(0)
                process = self.file.read().strip()
                self.file.close()
                self.file = None
                raise BlockingIOError(
                    f"--output_dir {self.path.parent} is in use by another train.py ({process or 'process unknown'}). "
                    "Wait until it ends, or choose another --output_dir."
                ) from error
            except OSError:
                return
            if self.is_in_place():
                self.file.truncate(0)
                self.file.write(f"process {os.getpid()} on {os.uname().nodename}\n")
                self.file.flush()
                return
            self.file.close()

    def is_in_place(self) -> bool:
        """Whether the locked file is still that of the path: the process that had the lock deletes the file."""
        try:
            return self.file is not None and os.path.samestat(os.fstat(self.file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        if self.file is not None:
            self.path.unlink(missing_ok=True)
            self.file.close()
            self.file = None
