"""User errors are printed as one line that says what to do, instead of a traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import StrictDataclassError

__all__ = ["one_line_errors"]

# Exceptions that report invalid user input.
USER_ERRORS = (ValueError, OSError, ImportError, StrictDataclassError)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """On a user error, print one line and exit with status 2; `--log_level debug` shows the traceback instead."""
    try:
        yield
    except USER_ERRORS as error:
        if any(argument in ("debug", "--log_level=debug") for argument in sys.argv):
            raise
        print(f"{sys.argv[0].split('/')[-1]}: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
