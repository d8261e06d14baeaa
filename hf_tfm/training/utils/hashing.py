"""Hashes of text that are the same on every platform and in every process."""

import hashlib
from collections.abc import Iterable

__all__ = ["content_digest", "fingerprint"]


def content_digest(text: str) -> bytes:
    """16 bytes that depend on the text alone: the same on every platform, in every process and in any order."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def fingerprint(documents: Iterable[str]) -> str:
    """16 hexadecimal digits of a set of documents, whatever their order."""
    return hashlib.blake2b(b"".join(sorted(map(content_digest, documents))), digest_size=8).hexdigest()
