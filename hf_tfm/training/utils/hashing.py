"""Hashes of text that are equal on every platform and in every process."""

import hashlib
from collections.abc import Iterable

__all__ = ["content_digest", "fingerprint"]


def content_digest(text: str) -> bytes:
    """A 16-byte hash of the text. Unlike `hash`, it is equal on every platform and in every process."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def fingerprint(documents: Iterable[str]) -> str:
    """A hash of a set of documents in 16 hexadecimal digits, independent of their order."""
    return hashlib.blake2b(b"".join(sorted(map(content_digest, documents))), digest_size=8).hexdigest()
