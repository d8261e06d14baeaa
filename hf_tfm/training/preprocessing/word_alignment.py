"""Token classification: labels of words to labels of pieces and back. The first piece of a word carries its label
(Devlin et al. 2019, arXiv:1810.04805, section 5.3).

Legend: N rows of pieces, T pieces in a padded row."""

from collections import defaultdict
from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np

from hf_tfm.modeling.loss import IGNORE_INDEX

__all__ = ["align_word_labels", "word_predictions"]


def align_word_labels(
    batch: Any, tokenizer: Any, max_length: int, label_all_pieces: bool = False
) -> dict[str, list[list[int]] | list[int]]:
    """Rows of pieces from rows of words, all columns as lists; a row of too many pieces is cut between words.

    `batch`: columns tokens (lists of words), tags (lists of ids, 0 or more), and row (the index of each in its split;
    without it the batch is the whole split). Every word but the first of a row is tokenised as after a space, in cut
    rows too, and special tokens stand around each part.

    - `input_ids`, `attention_mask`, `labels`: the tag at the first piece of a word, or at all with `label_all_pieces`;
      -100 elsewhere
    - `row`, `first_word`: the row and the word that this part begins with
    - `first_pieces`: where the first piece of each word is

    Raises ValueError, naming row and word, if a word leaves no piece or too many, if tags do not fit, or for a row
    without words."""
    rows = list(batch.get("row", range(len(batch["tokens"]))))
    for row, words, tags in zip(rows, batch["tokens"], batch["tags"], strict=True):
        check_tags(row, words, tags)
    space = space_before_words(tokenizer)
    spaced = [[words[0], *(space + word for word in words[1:])] for words in batch["tokens"]]
    encoded = tokenizer(spaced, is_split_into_words=True, verbose=False)
    nothing = pretokenized_ids(tokenizer, [space]) if space else []
    features = defaultdict(list)
    for i, (row, words, tags) in enumerate(zip(rows, batch["tokens"], batch["tags"], strict=True)):
        ids, owners = encoded["input_ids"][i], encoded.word_ids(i)
        pieces: list[list[int]] = [[] for _ in words]
        for piece, owner in zip(ids, owners, strict=True):
            if owner is not None:
                pieces[owner].append(piece)
        before = next((at for at, owner in enumerate(owners) if owner is not None), len(owners))
        after = next((at for at, owner in enumerate(reversed(owners)) if owner is not None), 0)
        room = max_length - before - after
        for word, found in enumerate(pieces):
            if found == (nothing if word else []):
                raise ValueError(
                    f"Row {row}, word {word}: the tokenizer leaves nothing of {words[word]!r}; drop the word and its "
                    "tag, or use a tokenizer that keeps it."
                )
            if len(found) > room:
                raise ValueError(
                    f"Row {row}, word {word}: {words[word]!r} has {len(found)} pieces, and max_length {max_length} "
                    f"leaves {room} beside {before + after} special tokens; raise max_length or shorten the word."
                )
        for first, last in split_pieces(pieces, room):
            row_ids, labels, first_pieces = list(ids[:before]), [IGNORE_INDEX] * before, []
            for found, tag in zip(pieces[first:last], tags[first:last], strict=True):
                first_pieces.append(len(row_ids))
                row_ids += found
                labels += [int(tag)] + [int(tag) if label_all_pieces else IGNORE_INDEX] * (len(found) - 1)
            features["input_ids"].append(row_ids + ids[len(ids) - after :])
            features["attention_mask"].append([1] * (len(row_ids) + after))
            features["labels"].append(labels + [IGNORE_INDEX] * after)
            features["row"].append(row)
            features["first_word"].append(first)
            features["first_pieces"].append(first_pieces)
    return dict(features)


def check_tags(row: int, words: list[str], tags: list[int]) -> None:
    """Raises ValueError if a row has no words, or not one id of a tag for each."""
    if not words:
        raise ValueError(f"Row {row} has no words; drop it.")
    if len(words) != len(tags):
        raise ValueError(f"Row {row} has {len(words)} words but {len(tags)} tags; give one tag per word.")
    for word, tag in enumerate(tags):
        if not isinstance(tag, Integral) or int(tag) < 0:
            raise ValueError(f"Row {row}, word {word}: tag {tag!r}; tags are ids, 0 or more: number their names.")


def space_before_words(tokenizer: Any) -> str:
    """What a split word needs before it to be tokenised as in running text: " " or nothing.

    Byte-level tokenizers without add_prefix_space glue split words to one another; others set the space themselves, or
    know none. Raises ValueError if split words never look like running text, or if the tokenizer cannot tell words."""
    if not tokenizer.is_fast:
        raise ValueError(f"{type(tokenizer).__name__} does not say which word a piece is of; use a fast tokenizer.")
    words = ["one", "two", "three"]
    running = tokenizer(" ".join(words), add_special_tokens=False).input_ids
    for space in ("", " "):
        if pretokenized_ids(tokenizer, [words[0], *(space + word for word in words[1:])]) == running:
            return space
    pieces = tokenizer.convert_ids_to_tokens(pretokenized_ids(tokenizer, words))
    raise ValueError(
        f"{type(tokenizer).__name__} tokenises split words otherwise than running text, with and without a space "
        f"before them: {pieces} for {' '.join(words)!r}; use "
        "another tokenizer, or set its add_prefix_space."
    )


def pretokenized_ids(tokenizer: Any, words: list[str]) -> list[int]:
    """Pieces of one row of split words, without special tokens."""
    return tokenizer([words], is_split_into_words=True, add_special_tokens=False).input_ids[0]


def split_pieces(pieces: list[list[int]], room: int) -> Iterator[tuple[int, int]]:
    """Ranges of words, as long as `room` pieces allow, that follow one another. No word may be longer than `room`."""
    first = used = 0
    for word, found in enumerate(pieces):
        if used + len(found) > room:
            yield first, word
            first, used = word, 0
        used += len(found)
    yield first, len(pieces)


def word_predictions(predicted: Any, labels: Any, features: Any) -> list[tuple[list[int], list[int]]]:
    """(tags, predicted tags) of every row, one per word, parts of a row joined; rows in ascending order.

    `predicted`, `labels` (N, T): ids per piece, padded on either side, labels with -100; `features`: columns row,
    first_word, first_pieces of `align_word_labels`, in the same order. A word is predicted by its first piece.
    Raises ValueError if shapes do not fit, if a part of a row is missing, or if labels are of other rows."""
    predicted, labels = np.asarray(predicted), np.asarray(labels)
    if labels.ndim != 2 or predicted.shape != labels.shape or len(labels) != len(features["row"]):
        raise ValueError(
            f"predicted {predicted.shape} and labels {labels.shape} must both be (N, T) with one row for each of the "
            f"{len(features['row'])} features."
        )
    found: dict[int, tuple[list[int], list[int]]] = {}
    order = sorted(range(len(labels)), key=lambda at: (features["row"][at], features["first_word"][at]))
    for at in order:
        row, first_word, pieces = (features[name][at] for name in ("row", "first_word", "first_pieces"))
        gold, guessed = found.setdefault(row, ([], []))
        if first_word != len(gold):
            raise ValueError(
                f"Row {row} has {len(gold)} words before its part at word {first_word}; pass each part once."
            )
        scored = np.flatnonzero(labels[at] != IGNORE_INDEX)
        # padding at the left moves all pieces alike
        places = np.asarray(pieces) + (scored[0] - pieces[0] if len(scored) else 0)
        if not np.isin(places, scored).all():
            raise ValueError(f"The labels of feature {at} (row {row}) are not its own; keep features in their order.")
        gold += labels[at, places].tolist()
        guessed += predicted[at, places].tolist()
    return [found[row] for row in sorted(found)]
