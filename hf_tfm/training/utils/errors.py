"""Bad input is answered in one line with what to do, before compute is spent."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import StrictDataclassError

__all__ = ["one_line_errors"]

# What the parts of a run raise for input that they refuse.
USER_ERRORS = (ValueError, OSError, ImportError, StrictDataclassError)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the process with status 2 and one line instead of a traceback; `--log_level debug` shows both."""
    try:
        yield
    except USER_ERRORS as error:
        if any(word in ("debug", "--log_level=debug") for word in sys.argv):
            raise
        print(f"{sys.argv[0].split('/')[-1]}: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
