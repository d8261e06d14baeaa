"""Every word keeps its label exactly once, is tokenized as in running text, and is restored from predictions."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import TokenizersBackend

from hf_tfm.training.data.conll import read_conll
from hf_tfm.training.data.tokenizer import END_OF_TEXT, PAD_TOKEN, train_tokenizer
from hf_tfm.training.preprocessing.word_alignment import align_word_labels, word_predictions

WORDS = ["EU", "rejects", "German", "'s", "日本", "café", "😀", "@paulwalk", ".", "7½", "http://t.co/x", "don't"]
TEXTS = ["EU rejects German call to boycott British lamb . It 's the view from 日本 and the café @paulwalk 😀"] * 5


def plain():
    return train_tokenizer(TEXTS, 400, 1000)


def with_specials(tokenizer):
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END_OF_TEXT} $A {PAD_TOKEN}", special_tokens=[(END_OF_TEXT, 0), (PAD_TOKEN, 1)]
    )
    return tokenizer


def prefixing():
    """Adds a space before every split word."""
    tokenizer = plain()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return with_specials(tokenizer)


def pieces_without_spaces():
    """BERT's normalizer with letters as pieces, which ignore spaces."""
    letters = {letter for word in WORDS for letter in word} | set("onetwhr")
    vocabulary = [END_OF_TEXT, PAD_TOKEN, "[UNK]", *sorted(letters), *sorted(f"##{letter}" for letter in letters)]
    model = models.WordPiece({token: index for index, token in enumerate(vocabulary)}, unk_token="[UNK]")
    backend = Tokenizer(model)
    backend.normalizer = normalizers.BertNormalizer(lowercase=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return with_specials(TokenizersBackend(tokenizer_object=backend, unk_token="[UNK]"))


def prepending():
    """Llama 2's normalizer on single letters: "▁" before every text and for every space, so two of them before " x"."""
    letters = sorted({letter for word in WORDS for letter in word} | set("onetwhr▁"))
    vocabulary = {token: index for index, token in enumerate([END_OF_TEXT, PAD_TOKEN, "[UNK]", *letters])}
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token="[UNK]"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return with_specials(TokenizersBackend(tokenizer_object=backend, unk_token="[UNK]"))


TOKENIZERS = {
    "plain": plain,
    "bytes": lambda: with_specials(train_tokenizer(TEXTS, 258, 1000)),
    "specials": lambda: with_specials(plain()),
    "prefixing": prefixing,
    "prepending": prepending,
    "pieces_without_spaces": pieces_without_spaces,
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request):
    return TOKENIZERS[request.param]()


def random_batch(number, seed=0):
    rng = random.Random(seed)
    tokens = [rng.choices(WORDS, k=rng.randint(1, 40)) for _ in range(number)]
    return {"tokens": tokens, "tags": [[rng.randrange(13) for _ in words] for words in tokens]}


def padded(features, side="right"):
    """Labels padded as by a collator."""
    longest = max(map(len, features["labels"])) + 2
    pairs = [(labels, [-100] * (longest - len(labels))) for labels in features["labels"]]
    return np.array([labels + padding if side == "right" else padding + labels for labels, padding in pairs])


@pytest.mark.parametrize("max_length", [1000, 40, 25])
def test_every_word_keeps_its_label_once(tokenizer, max_length):
    batch = random_batch(100)
    features = align_word_labels(batch, tokenizer, max_length)
    assert max(map(len, features["input_ids"])) <= max_length
    assert (len(features["row"]) > 100) == (max_length < 1000)
    for name in ("attention_mask", "labels"):
        assert list(map(len, features[name])) == list(map(len, features["input_ids"]))
    num_words = np.zeros(100, dtype=int)
    for i, row in enumerate(features["row"]):
        assert features["first_word"][i] == num_words[row]
        labels, first_pieces = features["labels"][i], features["first_pieces"][i]
        tags = batch["tags"][row][num_words[row] : num_words[row] + len(first_pieces)]
        assert [labels[position] for position in first_pieces] == tags
        assert sum(label != -100 for label in labels) == len(tags)
        num_words[row] += len(tags)
    assert num_words.tolist() == list(map(len, batch["tokens"]))


def test_words_are_tokenized_as_in_running_text(tokenizer):
    batch = random_batch(100)
    whole = align_word_labels(batch, tokenizer, 1000)
    assert whole["input_ids"] == [tokenizer(" ".join(words)).input_ids for words in batch["tokens"]]
    parts = align_word_labels(batch, tokenizer, 30)
    before = after = tokenizer.num_special_tokens_to_add() // 2
    joined = [[] for _ in batch["tokens"]]
    for row, ids in zip(parts["row"], parts["input_ids"], strict=True):
        assert ids[:before] == [0] * before
        assert ids[len(ids) - after :] == [1] * after
        joined[row] += ids[before : len(ids) - after]
    plain_ids = [tokenizer(" ".join(words), add_special_tokens=False).input_ids for words in batch["tokens"]]
    assert joined == plain_ids


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("max_length", [1000, 25])
def test_predictions_are_restored_per_word(tokenizer, max_length, side):
    batch = random_batch(50)
    features = align_word_labels(batch, tokenizer, max_length)
    labels = padded(features, side)
    predicted = np.where(labels == -100, 99, labels + 20)
    results = word_predictions(predicted, labels, features)
    for expected, (tags, predicted_tags) in zip(batch["tags"], results, strict=True):
        assert tags == expected
        assert predicted_tags == [tag + 20 for tag in expected]


def test_alignment_by_hand():
    """EU | Ġ x | Ġ x x: one word of one piece, two of several."""
    tokenizer = with_specials(train_tokenizer(["EU"] * 9, 259, 100))
    one, x, y = tokenizer.convert_tokens_to_ids(["EU", "Ġ", "x"])
    batch = {"tokens": [["EU", "x", "xx"]], "tags": [[3, 0, 5]], "row": [4]}
    features = align_word_labels(batch, tokenizer, 100)
    assert features == {
        "input_ids": [[0, one, x, y, x, y, y, 1]],
        "attention_mask": [[1] * 8],
        "labels": [[-100, 3, 0, -100, 5, -100, -100, -100]],
        "row": [4],
        "first_word": [0],
        "first_pieces": [[1, 2, 4]],
    }
    parts = align_word_labels(batch, tokenizer, 5)
    assert parts["input_ids"] == [[0, one, x, y, 1], [0, x, y, y, 1]]
    assert parts["labels"] == [[-100, 3, 0, -100, -100], [-100, 5, -100, -100, -100]]
    assert (parts["row"], parts["first_word"], parts["first_pieces"]) == ([4, 4], [0, 2], [[1, 2], [1]])
    # Only the prediction of the first piece counts.
    predicted = np.array([[9, 3, 1, 7, 9], [9, 5, 8, 8, 9]])
    assert word_predictions(predicted, np.array(parts["labels"]), parts) == [([3, 0, 5], [3, 1, 5])]


def test_order_of_rows_does_not_matter():
    tokenizer = plain()
    batch = random_batch(20)
    features = align_word_labels(batch, tokenizer, 20)
    order = random.Random(1).sample(range(len(features["row"])), len(features["row"]))
    shuffled = {name: [column[i] for i in order] for name, column in features.items()}
    labels = padded(shuffled)
    assert [tags for tags, _ in word_predictions(labels, labels, shuffled)] == batch["tags"]


def test_words_that_contain_spaces_or_special_tokens_are_one_word(tokenizer):
    batch = {"tokens": [["EU", "7 ½", PAD_TOKEN, "EU"]], "tags": [[1, 2, 3, 4]]}
    features = align_word_labels(batch, tokenizer, 100)
    assert [label for label in features["labels"][0] if label != -100] == [1, 2, 3, 4]


@pytest.mark.parametrize(("word", "index"), [("\u200b", 1), ("\u200b", 0), ("", 1), ("", 0), ("\u0007", 1)])
def test_words_without_pieces_are_refused(word, index):
    words = ["EU", "EU"]
    words[index] = word
    batch = {"tokens": [["EU"], words], "tags": [[0], [0, 0]]}
    byte_level = plain()
    byte_level.backend_tokenizer.normalizer = normalizers.Replace(word, "") if word else None
    for tokenizer in (pieces_without_spaces(), byte_level):
        with pytest.raises(ValueError, match=rf"\(index {index}\), of which the tokenizer leaves nothing"):
            align_word_labels(batch, tokenizer, 100)


def test_byte_level_tokenizers_keep_every_character():
    batch = {"tokens": [["\u200b", "\u200b", "\u0007", "\u00a0"]], "tags": [[1, 2, 3, 4]]}
    assert [label for label in align_word_labels(batch, plain(), 100)["labels"][0] if label >= 0] == [1, 2, 3, 4]


def test_invalid_rows_are_refused():
    tokenizer = with_specials(plain())
    with pytest.raises(ValueError, match="Row 0 has 2 words but 1 tags"):
        align_word_labels({"tokens": [["EU", "EU"]], "tags": [[1]]}, tokenizer, 100)
    with pytest.raises(ValueError, match="Row 5 has no words"):
        align_word_labels({"tokens": [[]], "tags": [[]], "row": [5]}, tokenizer, 100)
    for tag in (-1, -100, "B-person", None):
        with pytest.raises(ValueError, match=f"Row 0, word 1: tag {tag!r}"):
            align_word_labels({"tokens": [["EU", "EU"]], "tags": [[1, tag]]}, tokenizer, 100)
    with pytest.raises(
        ValueError, match=r"'xxxxxxxxx' \(index 1\) with 10 tokens, and --max_length 11 leaves 9 beside 2"
    ):
        align_word_labels({"tokens": [["EU", "x" * 9]], "tags": [[1, 1]]}, tokenizer, 11)


def test_a_tokenizer_that_cannot_read_split_words_is_refused():
    """It strips spaces around each word, and so joins split words with and without a space before them."""
    tokenizer = plain()
    tokenizer.backend_tokenizer.normalizer = normalizers.Strip()
    with pytest.raises(ValueError, match="otherwise than running text"):
        align_word_labels({"tokens": [["EU"]], "tags": [[1]]}, tokenizer, 100)


def test_predictions_of_other_rows_are_refused():
    features = align_word_labels({"tokens": [["EU"] * 9], "tags": [[1] * 9]}, plain(), 4)
    labels = padded(features)
    with pytest.raises(ValueError, match="one row for each of the"):
        word_predictions(labels[:, :-1], labels, features)
    with pytest.raises(ValueError, match="one row for each of the"):
        word_predictions(labels[1:], labels[1:], features)
    with pytest.raises(ValueError, match="are not its own"):
        word_predictions(labels, np.full_like(labels, -100), features)
    with pytest.raises(ValueError, match="Row 0 has 0 words before its part at word"):
        word_predictions(labels[1:], labels[1:], {name: column[1:] for name, column in features.items()})


@pytest.mark.skipif("HF_TFM_DATA" not in os.environ, reason="HF_TFM_DATA names no folder of data")
def test_real_files_have_the_known_number_of_sentences():
    folder = Path(os.environ["HF_TFM_DATA"], "ner_wnut17")
    sizes = {
        "wnut17train.conll": (3394, 62730),
        "emerging.dev.conll": (1009, 15733),
        "emerging.test.annotated": (1287, 23394),
    }
    for name, (sentences, words) in sizes.items():
        rows = [row.values for row in read_conll(str(folder / name))]
        table = {column: [row[column] for row in rows] for column in ("tokens", "tags")}
        assert (len(table["tokens"]), sum(map(len, table["tokens"]))) == (sentences, words)
        names = sorted({tag for tags in table["tags"] for tag in tags})
        assert len(names) == 13
        batch = {"tokens": table["tokens"], "tags": [[names.index(tag) for tag in tags] for tags in table["tags"]]}
        features = align_word_labels(batch, with_specials(plain()), 256)
        labels = padded(features)
        assert [tags for tags, _ in word_predictions(labels, labels, features)] == batch["tags"]
