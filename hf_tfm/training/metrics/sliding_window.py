"""Answers to questions without a model: the sliding window of Richardson et al. 2013 (MCTest) as Rajpurkar et al. 2016,
arXiv:1606.05250, section 5.1 use it, with spans of a fixed number of words in the place of a parser's constituents.

Written by hand: no installable library contains it."""

import math
import re
from collections import Counter

__all__ = ["sliding_window_answer"]

WORD = re.compile(r"\w+(?:[-'.,]\w+)*")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


def sliding_window_answer(context: str, question: str, num_words: int) -> str:
    """The span of `num_words` words, in the sentence that has the most words in common with the question, around which
    the most words of the question stand, weighted by their rarity in the context: log(1 + 1 / count). The span itself
    has as few of them as possible. Empty if the context has no words."""
    asked = set(WORD.findall(question.lower()))
    counts = Counter(WORD.findall(context.lower()))
    sentences = [sentence for sentence in SENTENCE_END.split(context) if WORD.search(sentence)]
    if not sentences:
        return ""
    sentence = max(sentences, key=lambda text: len(asked & set(WORD.findall(text.lower()))))
    words = list(WORD.finditer(sentence))
    weights = [math.log(1 + 1 / counts[word]) if (word := match[0].lower()) in asked else 0.0 for match in words]
    size, reach = min(num_words, len(words)), max(1, len(asked))

    def score(start: int) -> float:
        end = start + size
        around = sum(weights[max(0, start - reach) : start]) + sum(weights[end : end + reach])
        return around - sum(weights[start:end])

    best = max(range(len(words) - size + 1), key=score)
    return sentence[words[best].start() : words[best + size - 1].end()]
