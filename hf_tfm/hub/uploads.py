"""Uploads that survive a broken connection."""

import time
from collections.abc import Callable
from typing import Any

from huggingface_hub.errors import HTTPError  # pyright: ignore[reportPrivateImportUsage]

from .access import status_of

__all__ = ["upload_folder"]

# Seconds before each further attempt.
WAITS = (1, 2, 4, 8)
TOO_MANY_REQUESTS = 429


def upload_folder(api: Any, say: Callable[[str], None] = print, **upload: Any) -> Any:
    """As `HfApi.upload_folder`. What breaks on the way, a connection or the Hub itself, is said and tried again: files
    that the Hub has are not sent twice. A pull request is tried once, because a second attempt could open a second
    one."""
    waits = () if upload.get("create_pr") else WAITS
    for wait in waits:
        try:
            return api.upload_folder(**upload)
        except Exception as error:
            if not is_temporary(error):
                raise
            say(f"The upload broke ({reason_of(error)}); trying again in {wait} s.")
        time.sleep(wait)
    return api.upload_folder(**upload)


def is_temporary(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, is a broken connection or an answer that the Hub may not give
    again."""
    while error is not None:
        if isinstance(error, HTTPError):
            status = status_of(error)
            answered = status is not None and (status >= 500 or status == TOO_MANY_REQUESTS)
            return answered or not hasattr(error, "response")
        error = error.__cause__
    return False


def reason_of(error: BaseException) -> str:
    status = status_of(error) or status_of(error.__cause__)
    return f"status {status}" if status else type(error.__cause__ or error).__name__
