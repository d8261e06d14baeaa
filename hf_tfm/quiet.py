"""A command prints its own lines, not the log of transformers."""

import contextlib
from collections.abc import Iterator

from transformers.utils import logging

__all__ = ["only_errors_logged"]


@contextlib.contextmanager
def only_errors_logged(progress_bars: bool = True) -> Iterator[None]:
    """Runs a command, also as a decorator: transformers logs errors only, and draws its progress bars or none. Its
    settings are those of the process, which has other work after a command that it calls as a function: they are put
    back."""
    verbosity, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if not progress_bars:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bars:
            logging.enable_progress_bar()
