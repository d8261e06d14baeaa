"""Extractive question answering: cuts contexts into windows, and reads answers from logits.

Rajpurkar et al. 2016, arXiv:1606.05250; 2018, arXiv:1806.03822 (questions without an answer); Devlin et al. 2019,
arXiv:1810.04805, sections 4.2 and 4.3 (choice of the span).

A window is [special] question [special] part of the context [special], as built by the tokenizer's post-processor. The
position of its first token means "no answer". Rows must be padded on the right, so that positions do not move.

Legend: N windows, T tokens in a padded window, W windows of one example, D longest answer in tokens."""

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .row_values import RowError

__all__ = ["best_answers", "make_qa_windows"]

# the token position that means "no answer"
NO_ANSWER_POSITION = 0
OUTSIDE_CONTEXT = [-1, -1]


def make_qa_windows(rows: Any, tokenizer: Any, max_length: int, doc_stride: int) -> dict[str, list[Any]]:
    """One feature per window of each context, all columns as lists.

    `rows`: columns id, context, question, answers, and row (the index of each in its split; without it the batch is
    the whole split). Answers are {"text": [...], "answer_start": [...]}, as `answers_of` returns them; the first one is
    the label. `doc_stride`: tokens that neighbouring windows share.

    - `input_ids`, `attention_mask`, and `token_type_ids` if the tokenizer has them: at most `max_length` tokens
    - `start_positions`, `end_positions`: first and last token of the answer; 0 and 0 if the window does not contain all
      of it
    - `offsets`: per token, its start and end in the context, in characters, without white space around it. A token of
      white space is empty and never starts or ends an answer. [-1, -1] outside the context
    - `example`: the row

    The labelled text is the answer without white space around it, extended to whole tokens.
    Raises RowError if an answer has no token, or if a question leaves no space for its context, and ValueError if the
    tokenizer puts no special token before (question, context)."""
    if doc_stride < 0:
        raise ValueError(f"doc_stride {doc_stride} is negative; it must be 0 or more, for instance {max_length // 3}.")
    encoded = tokenizer(list(rows["question"]), list(rows["context"]), return_offsets_mapping=True, verbose=False)
    features = defaultdict(list)
    for i, example in enumerate(rows.get("row", range(len(rows["id"])))):
        context, answers = rows["context"][i], rows["answers"][i]
        begin, end = context_token_range(encoded.sequence_ids(i))
        space = context_space(encoded.sequence_ids(i), max_length, doc_stride)
        offsets = [strip_span(context, *encoded["offset_mapping"][i][token]) for token in range(begin, end)]
        spans = list(zip(answers["answer_start"], answers["text"], strict=True))
        first, last = answer_token_range(context, offsets, *spans[0]) if spans else (-1, -1)
        suffix_length = len(encoded["input_ids"][i]) - end
        for start in range(0, max(1, end - begin - doc_stride), space - doc_stride):
            stop = min(start + space, end - begin)
            for column in ("input_ids", "token_type_ids"):
                if column in encoded:
                    ids = encoded[column][i]
                    features[column].append(ids[:begin] + ids[begin + start : begin + stop] + ids[end:])
            features["attention_mask"].append([1] * (begin + stop - start + suffix_length))
            contains_answer = start <= first and last < stop
            features["start_positions"].append(begin + first - start if contains_answer else NO_ANSWER_POSITION)
            features["end_positions"].append(begin + last - start if contains_answer else NO_ANSWER_POSITION)
            features["offsets"].append(
                [OUTSIDE_CONTEXT] * begin + offsets[start:stop] + [OUTSIDE_CONTEXT] * suffix_length
            )
            features["example"].append(example)
    return dict(features)


def context_space(sequence_ids: list[int | None], max_length: int, doc_stride: int) -> int:
    """Context tokens that fit into a window. Raises RowError if windows that overlap by `doc_stride` do not fit."""
    num_question, num_special = sequence_ids.count(0), sequence_ids.count(None)
    space = max_length - num_question - num_special
    if space <= doc_stride:
        raise RowError(
            f"has too long a question: {num_question} tokens, and {num_special} special ones, leave {space} of "
            f"--max_length {max_length} for its context, which needs more than --doc_stride {doc_stride}; raise "
            "--max_length, lower --doc_stride, or shorten the question"
        )
    return space


def context_token_range(sequence_ids: list[int | None]) -> tuple[int, int]:
    """First token of the context, and the one after its last. `sequence_ids`: 0 for tokens of the question, 1 of the
    context, None for special tokens. Raises ValueError if the first token is not special."""
    if not sequence_ids or sequence_ids[0] is not None:
        raise ValueError(
            'The tokenizer puts no special token before (question, context), but its position means "no answer". Give '
            "the tokenizer a post-processor, tokenizers.processors.TemplateProcessing, with the pair "
            '"[CLS] $A [SEP] $B:1 [SEP]:1" and its own special tokens.'
        )
    inside = [token for token, sequence_id in enumerate(sequence_ids) if sequence_id == 1]
    return (inside[0], inside[-1] + 1) if inside else (len(sequence_ids), len(sequence_ids))


def strip_span(context: str, start: int, end: int) -> list[int]:
    """A span of the context without the white space around it; [end, end] if it is all white space."""
    text = context[start:end].lstrip()
    return [end - len(text), end - len(text) + len(text.rstrip())]


def answer_token_range(context: str, offsets: list[list[int]], start: int, text: str) -> tuple[int, int]:
    """First and last token of the context that contain characters of the answer. Raises RowError if there is none."""
    begin, end = strip_span(context, start, start + len(text))
    inside = [token for token, (left, right) in enumerate(offsets) if left < right and left < end and begin < right]
    if not inside:
        raise RowError(
            f"has the answer {text!r} at character {start}, for which the tokenizer has no token; use a tokenizer that "
            "keeps these characters"
        )
    return inside[0], inside[-1]


def best_answers(
    start_logits: Any,
    end_logits: Any,
    features: Any,
    examples: Any,
    n_best: int = 20,
    max_answer_tokens: int = 30,
    null_threshold: float = 0.0,
    *,
    allow_null: bool,
) -> dict[str, dict[str, Any]]:
    """By id, the best answer over all windows of each example: `text`, `score`, `no_answer_probability`.

    `start_logits`, `end_logits` (N, T), padded on the right; `features`: columns offsets and example of
    `make_qa_windows`, in the same order; `examples`: columns id and context of the whole split.

    A span of at most `max_answer_tokens` tokens inside the context scores start + end. "No answer", with the text "",
    scores start + end of the first token, minimized over windows. With `allow_null`, it wins if its score exceeds the
    best span's by more than `null_threshold`; it also wins if a context has no tokens. Its probability is a softmax
    over itself and the `n_best` best spans. Of equal scores, the earliest span wins, then the shortest.
    Raises ValueError if shapes do not match, if an example has no window, if two share an id, or for logits that are
    NaN or +inf."""
    starts, ends = np.asarray(start_logits, dtype=np.float32), np.asarray(end_logits, dtype=np.float32)
    windows_of = defaultdict(list)
    for window, example in enumerate(features["example"]):
        windows_of[example].append(window)
    question_ids = list(examples["id"])
    check_logits(starts, ends, len(features["example"]), question_ids, windows_of)
    if n_best < 1 or max_answer_tokens < 1:
        raise ValueError(f"n_best ({n_best}) and max_answer_tokens ({max_answer_tokens}) must be 1 or more.")
    answers = {}
    for example, question_id in enumerate(question_ids):
        windows = windows_of[example]
        offsets = pad_offsets([features["offsets"][window] for window in windows], starts.shape[1])
        length = offsets.shape[1]
        spans = best_spans(starts[windows, :length], ends[windows, :length], offsets, n_best, max_answer_tokens)
        null = float((starts[windows, NO_ANSWER_POSITION] + ends[windows, NO_ANSWER_POSITION]).min())
        (begin, end), score = next(iter(spans.items()), ((0, 0), null))
        if allow_null and null - score > null_threshold:
            (begin, end), score = (0, 0), null
        answers[question_id] = {
            "text": examples["context"][example][begin:end],
            "score": score,
            "no_answer_probability": first_softmax_probability([null, *spans.values()]),
        }
    return answers


def check_logits(
    starts: np.ndarray, ends: np.ndarray, windows: int, question_ids: list[str], windows_of: dict[int, list[int]]
) -> None:
    """Raises ValueError for logits and features that do not match."""
    if starts.ndim != 2 or starts.shape != ends.shape or len(starts) != windows:
        raise ValueError(
            f"start_logits {starts.shape} and end_logits {ends.shape} must both be (N, T) with one row for each of "
            f"the {windows} windows."
        )
    if not ((starts < np.inf).all() and (ends < np.inf).all()):
        raise ValueError(
            "Some logits are NaN or +inf, so that no span is best. The model has diverged; lower its learning rate."
        )
    if len(set(question_ids)) < len(question_ids):
        duplicate = next(name for name in question_ids if question_ids.count(name) > 1)
        raise ValueError(f"Two examples have the id {duplicate}; give each its own id.")
    unseen = [name for example, name in enumerate(question_ids) if example not in windows_of]
    if unseen or len(windows_of) > len(question_ids):
        raise ValueError(
            f"{len(unseen)} of {len(question_ids)} examples have no window ({', '.join(map(str, unseen[:3]))}), and "
            f"{len(windows_of)} have some; pass the split that the windows were made from, with its own row numbers."
        )


def pad_offsets(offsets: list[Any], longest: int) -> np.ndarray:
    """Offsets of several windows as one array (W, T, 2). Raises ValueError if one is longer than its logits."""
    length = max(map(len, offsets))
    if length > longest:
        raise ValueError(f"A window has {length} tokens but only {longest} logits; every token needs logits.")
    padded = np.full((len(offsets), length, 2), -1)
    for row, pairs in zip(padded, offsets, strict=True):
        row[: len(pairs)] = pairs
    return padded


def best_spans(
    starts: np.ndarray, ends: np.ndarray, offsets: np.ndarray, n_best: int, max_answer_tokens: int
) -> dict[tuple[int, int], float]:
    """The `n_best` best spans of one example, best first: (first character, the one after the last) -> score.

    `starts`, `ends` (W, T); `offsets` (W, T, 2). A span in several windows counts once, with its best score."""
    begins, stops = offsets[..., 0], offsets[..., 1]
    is_valid = begins < stops
    width = min(max_answer_tokens, starts.shape[1])
    padded_ends = np.pad(np.where(is_valid, ends, -np.inf), ((0, 0), (0, width - 1)), constant_values=-np.inf)
    # (W, T, D)
    scores = np.where(is_valid, starts, -np.inf)[..., None] + sliding_window_view(padded_ends, width, axis=1)
    flat = scores.ravel()
    # All windows may contain the same spans.
    top_k = min(n_best * len(starts), flat.size)
    top = np.flatnonzero((flat >= np.partition(flat, -top_k)[-top_k]) & (flat > -np.inf))
    spans: dict[tuple[int, int], float] = {}
    for index in top[np.argsort(-flat[top], kind="stable")]:
        window, token, length = np.unravel_index(index, scores.shape)
        spans.setdefault((int(begins[window, token]), int(stops[window, token + length])), float(flat[index]))
        if len(spans) == n_best:
            break
    return spans


def first_softmax_probability(scores: list[float]) -> float:
    """The softmax probability of the first score."""
    weights = np.exp(np.asarray(scores) - max(scores))
    return float(weights[0] / weights.sum())
