"""Equality of whole strings."""

import re
import string
from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Features, Value

from .base import InMemoryMetric, check_strings
from .squad import PUNCTUATION

__all__ = ["ExactMatch"]

DIGITS = str.maketrans("", "", string.digits)


class ExactMatch(InMemoryMetric):
    """Fraction (0 to 1) of predictions that equal their reference. Both are normalized first: matches of
    `regexes_to_ignore` are removed in order, then upper case, ASCII punctuation and digits are ignored as asked. Two
    texts that both become empty are equal only if they were equal before."""

    inputs = Features({"predictions": Value("string"), "references": Value("string")})

    def prepare(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {name: check_strings(texts, f"{self.name}: {name}") for name, texts in batch.items()}

    def _compute(
        self,
        predictions: Any,
        references: Any,
        *,
        regexes_to_ignore: Sequence[str] | None = None,
        ignore_case: bool = False,
        ignore_punctuation: bool = False,
        ignore_numbers: bool = False,
    ) -> dict[str, float]:
        def normalize(text: str) -> str:
            for pattern in regexes_to_ignore or ():
                text = re.sub(pattern, "", text)
            text = text.lower() if ignore_case else text
            text = text.translate(PUNCTUATION) if ignore_punctuation else text
            return text.translate(DIGITS) if ignore_numbers else text

        pairs = list(zip(predictions, references, strict=True))
        equal = [a == b or (normalize(a) == normalize(b) != "") for a, b in pairs]
        return {"exact_match": float(np.mean(equal))}
