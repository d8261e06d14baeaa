"""How the commands start. This file stands outside the package, whose import takes seconds: from the first moment on,
Ctrl-C ends a command in one line."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["main", "one_line_interrupt"]


@contextmanager
def one_line_interrupt(prog: str) -> Iterator[None]:
    """While the block imports what the command `prog` needs, Ctrl-C ends the process in one line with status 130, that
    of shells. A process that ignores Ctrl-C, or handles it in its own way, goes on doing so."""

    def end(number: int, frame: Any) -> None:
        sys.stderr.write(f"\n{prog}: interrupted\n")
        sys.stderr.flush()
        os._exit(130)

    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    # only the main thread may handle signals
    if not is_default or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def main() -> None:
    """The command hf-tfm."""
    with one_line_interrupt("hf-tfm"):
        from hf_tfm import cli
    cli.main()
