"""Token classification: from labels of words to labels of tokens, and from predictions of tokens back to words.

The first token of a word carries its label (Devlin et al. 2019, arXiv:1810.04805, section 5.3). Datasets call their
words "tokens", so the tokens of the tokenizer are called pieces here.

Legend: N features (rows, or parts of long rows), T pieces in a padded feature."""

from collections import defaultdict
from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np

from hf_tfm.modeling.loss import IGNORE_INDEX

from .row_values import RowError

__all__ = ["align_word_labels", "word_predictions"]


def align_word_labels(batch: Any, tokenizer: Any, max_length: int) -> dict[str, list[list[int]] | list[int]]:
    """Features of pieces from rows of words, all columns as lists; a row that is too long is split between words.

    `batch`: columns tokens (lists of words), tags (lists of ids, 0 or more), and row (the index of each in its split;
    without it the batch is the whole split). Every word but the first of a row is tokenized as after a space, also at
    the beginning of a later part, and special tokens surround each part.

    - `input_ids`, `attention_mask`, `labels`: the tag at the first piece of a word, -100 elsewhere
    - `row`, `first_word`: the row, and the index of the first word of this part
    - `first_pieces`: the position of the first piece of each word

    Raises RowError if a word has no piece or too many, and ValueError if tags do not match or a row has no words."""
    rows = list(batch.get("row", range(len(batch["tokens"]))))
    for row, words, tags in zip(rows, batch["tokens"], batch["tags"], strict=True):
        check_tags(row, words, tags)
    space = space_before_words(tokenizer)
    spaced = [[words[0], *(space + word for word in words[1:])] for words in batch["tokens"]]
    encoded = tokenizer(spaced, is_split_into_words=True, verbose=False)
    # the pieces of an empty word after a space
    empty = pretokenized_ids(tokenizer, [space]) if space else []
    features = defaultdict(list)
    for i, (row, words, tags) in enumerate(zip(rows, batch["tokens"], batch["tags"], strict=True)):
        prefix, pieces, suffix = split_by_word(encoded["input_ids"][i], encoded.word_ids(i), len(words))
        check_pieces(words, pieces, empty, max_length, len(prefix) + len(suffix))
        for first, last in split_row(pieces, max_length - len(prefix) - len(suffix)):
            ids, labels, first_pieces = list(prefix), [IGNORE_INDEX] * len(prefix), []
            for word_pieces, tag in zip(pieces[first:last], tags[first:last], strict=True):
                first_pieces.append(len(ids))
                ids += word_pieces
                labels += [int(tag)] + [IGNORE_INDEX] * (len(word_pieces) - 1)
            features["input_ids"].append(ids + suffix)
            features["attention_mask"].append([1] * len(ids + suffix))
            features["labels"].append(labels + [IGNORE_INDEX] * len(suffix))
            features["row"].append(row)
            features["first_word"].append(first)
            features["first_pieces"].append(first_pieces)
    return dict(features)


def split_by_word(
    ids: list[int], word_ids: list[int | None], num_words: int
) -> tuple[list[int], list[list[int]], list[int]]:
    """The special tokens before the words, the pieces of each word, and the special tokens after them."""
    pieces: list[list[int]] = [[] for _ in range(num_words)]
    for piece, word in zip(ids, word_ids, strict=True):
        if word is not None:
            pieces[word].append(piece)
    inside = [position for position, word in enumerate(word_ids) if word is not None]
    begin, end = (inside[0], inside[-1] + 1) if inside else (len(ids), len(ids))
    return ids[:begin], pieces, ids[end:]


def check_pieces(
    words: list[str], pieces: list[list[int]], empty: list[int], max_length: int, num_special: int
) -> None:
    """Raises RowError for a word without pieces, or with more than fit into a feature."""
    space = max_length - num_special
    for word, word_pieces in enumerate(pieces):
        if word_pieces == (empty if word else []):
            raise RowError(
                f"has the word {words[word]!r} (index {word}), of which the tokenizer leaves nothing; drop the word "
                "and its tag, or use a tokenizer that keeps it"
            )
        if len(word_pieces) > space:
            raise RowError(
                f"has the word {words[word][:60]!r} (index {word}) with {len(word_pieces)} tokens, and --max_length "
                f"{max_length} leaves {space} beside {num_special} special ones; raise --max_length or shorten the word"
            )


def check_tags(row: int, words: list[str], tags: list[int]) -> None:
    """Raises ValueError if a row has no words, or not one tag id for each word."""
    if not words:
        raise ValueError(f"Row {row} has no words; drop it.")
    if len(words) != len(tags):
        raise ValueError(f"Row {row} has {len(words)} words but {len(tags)} tags; give one tag per word.")
    for word, tag in enumerate(tags):
        if not isinstance(tag, Integral) or int(tag) < 0:
            raise ValueError(f"Row {row}, word {word}: tag {tag!r}; tags must be ids, 0 or more.")


def space_before_words(tokenizer: Any) -> str:
    """The prefix that makes split words tokenize as in running text: " " or "".

    Byte-level tokenizers without add_prefix_space join split words without a space; other tokenizers add the space
    themselves, or ignore spaces. Raises ValueError if neither prefix works, or if the tokenizer has no word ids."""
    if not tokenizer.is_fast:
        raise ValueError(f"{type(tokenizer).__name__} does not map tokens to words; use a fast tokenizer.")
    words = ["one", "two", "three"]
    running = tokenizer(" ".join(words), add_special_tokens=False).input_ids
    for space in ("", " "):
        if pretokenized_ids(tokenizer, [words[0], *(space + word for word in words[1:])]) == running:
            return space
    pieces = tokenizer.convert_ids_to_tokens(pretokenized_ids(tokenizer, words))
    raise ValueError(
        f"{type(tokenizer).__name__} tokenizes split words otherwise than running text, with and without a space "
        f"before them: {pieces} for {' '.join(words)!r}; use another tokenizer, or set its add_prefix_space."
    )


def pretokenized_ids(tokenizer: Any, words: list[str]) -> list[int]:
    """Ids of one row of split words, without special tokens."""
    return tokenizer([words], is_split_into_words=True, add_special_tokens=False).input_ids[0]


def split_row(pieces: list[list[int]], max_pieces: int) -> Iterator[tuple[int, int]]:
    """Consecutive ranges of words with at most `max_pieces` pieces each. No word may be longer than that."""
    first = count = 0
    for word, word_pieces in enumerate(pieces):
        if count + len(word_pieces) > max_pieces:
            yield first, word
            first, count = word, 0
        count += len(word_pieces)
    yield first, len(pieces)


def word_predictions(predicted: Any, labels: Any, features: Any) -> list[tuple[list[int], list[int]]]:
    """(tags, predicted tags) of every row, one per word, with the parts of a row joined; rows in ascending order.

    `predicted`, `labels` (N, T): ids per piece, padded on either side, labels with -100; `features`: columns row,
    first_word, first_pieces of `align_word_labels`, in the same order. The prediction of a word is that of its first
    piece. Raises ValueError if shapes do not match, if a part of a row is missing, or if labels are of other rows."""
    predicted, labels = np.asarray(predicted), np.asarray(labels)
    if labels.ndim != 2 or predicted.shape != labels.shape or len(labels) != len(features["row"]):
        raise ValueError(
            f"predicted {predicted.shape} and labels {labels.shape} must both be (N, T) with one row for each of the "
            f"{len(features['row'])} features."
        )
    found: dict[int, tuple[list[int], list[int]]] = {}
    order = sorted(range(len(labels)), key=lambda i: (features["row"][i], features["first_word"][i]))
    for i in order:
        row, first_word, pieces = (features[name][i] for name in ("row", "first_word", "first_pieces"))
        tags, predicted_tags = found.setdefault(row, ([], []))
        if first_word != len(tags):
            raise ValueError(
                f"Row {row} has {len(tags)} words before its part at word {first_word}; pass each part once."
            )
        scored = np.flatnonzero(labels[i] != IGNORE_INDEX)
        # Padding on the left shifts all pieces.
        positions = np.asarray(pieces) + (scored[0] - pieces[0] if len(scored) else 0)
        if not np.isin(positions, scored).all():
            raise ValueError(f"The labels of feature {i} (row {row}) are not its own; keep the order of features.")
        tags += labels[i, positions].tolist()
        predicted_tags += predicted[i, positions].tolist()
    return [found[row] for row in sorted(found)]
