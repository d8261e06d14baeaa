"""Windows contain every token, answers are restored as text, and the best span is found."""

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import TokenizersBackend

from hf_tfm.training.data.tokenizer import END_OF_TEXT, PAD_TOKEN, train_tokenizer
from hf_tfm.training.preprocessing.qa_windows import best_answers, make_qa_windows
from hf_tfm.training.preprocessing.row_values import RowError, answers_of

WORDS = ["the", "cat", "sat", "on", "日本", "café", "😀", "x", "naïve", "7½", "don't", "<|pad|>"]
SPACES = [" ", "  ", "\n", "\t ", " \u3000", "\u00a0"]
TEXTS = ["Who sat on the mat?  The cat sat on the mat of 日本.\n\nIn the café it said 😀 and don't x 7½ naïve."] * 5


def with_template(tokenizer, *before):
    """Puts special tokens around question and context, as the tokenizer of an encoder does."""
    template = f"{END_OF_TEXT} $A:0 {PAD_TOKEN} $B:1 {PAD_TOKEN}:1"
    specials = [(END_OF_TEXT, 0), (PAD_TOKEN, 1)]
    last = processors.TemplateProcessing(single=f"{END_OF_TEXT} $A {PAD_TOKEN}", pair=template, special_tokens=specials)
    tokenizer.backend_tokenizer.post_processor = processors.Sequence([*before, last])
    return tokenizer


def byte_level(vocab_size=400):
    return with_template(train_tokenizer(TEXTS, vocab_size, 1000))


def whole_words(pre_tokenizer, words, names):
    vocabulary = {token: index for index, token in enumerate([END_OF_TEXT, PAD_TOKEN, "[UNK]", *words])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=False) if "token_type_ids" in names else None
    backend.pre_tokenizer = pre_tokenizer
    return with_template(TokenizersBackend(tokenizer_object=backend, unk_token="[UNK]", model_input_names=names))


NAMES = ["input_ids", "token_type_ids", "attention_mask"]
TOKENIZERS = {
    "bytes": lambda: byte_level(258),
    "byte_level": byte_level,
    "trimming": lambda: with_template(train_tokenizer(TEXTS, 400, 1000), processors.ByteLevel(trim_offsets=True)),
    "bert": lambda: whole_words(pre_tokenizers.BertPreTokenizer(), WORDS, NAMES),
    "metaspace": lambda: whole_words(pre_tokenizers.Metaspace(), ["▁the", "▁cat", "▁"], NAMES[::2]),
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request):
    return TOKENIZERS[request.param]()


@pytest.fixture(scope="module")
def plain():
    return byte_level()


def rows_of(*cases):
    """Rows of (context, answer, its first character); None means no answer."""
    answers = [{"text": [], "answer_start": []} if text is None else {"text": [text], "answer_start": [start]}
               for _, text, start in cases]  # fmt: skip
    return {
        "id": [f"q{i}" for i in range(len(cases))],
        "context": [context for context, _, _ in cases],
        "question": ["who sat"] * len(cases),
        "answers": answers,
    }


def random_cases(number, seed=0, spaces=SPACES):
    """Contexts of words and unusual white space; answers are runs of whole words, some with white space around them."""
    rng = random.Random(seed)
    for _ in range(number):
        words = rng.choices(WORDS, k=rng.randint(1, 30))
        gaps = [rng.choice(["", *spaces]), *rng.choices(spaces, k=len(words) - 1), rng.choice(["", *spaces])]
        context, spans = gaps[0], []
        for word, gap in zip(words, gaps[1:], strict=True):
            spans.append((len(context), len(context) + len(word)))
            context += word + gap
        first = rng.choice([0, rng.randrange(len(words))])
        last = rng.choice([len(words) - 1, min(len(words) - 1, first + rng.randrange(5))])
        start = rng.choice([spans[first][0], spans[first - 1][1] if first else 0])
        stop = rng.choice([spans[last][1], spans[last + 1][0] if last + 1 < len(words) else len(context)])
        yield context, context[start:stop], start


def labelled_text(features, window, context):
    start, stop = features["start_positions"][window], features["end_positions"][window]
    return context[features["offsets"][window][start][0] : features["offsets"][window][stop][1]]


def label_logits(features):
    """Logits that predict the labels. "No answer" scores higher, but must not win if another window has the answer."""
    starts, ends = np.zeros((2, len(features["example"]), max(map(len, features["input_ids"]))))
    for window, (start, end) in enumerate(zip(features["start_positions"], features["end_positions"], strict=True)):
        starts[window, start] = ends[window, end] = 9.0 if start else 14.0
    return starts, ends


@pytest.mark.parametrize(("max_length", "doc_stride"), [(1000, 0), (40, 12), (24, 8), (24, 0)])
def test_labelled_text_is_the_answer(tokenizer, max_length, doc_stride):
    # Metaspace tokenizers split at plain spaces only, so other white space would join words into one token.
    is_metaspace = isinstance(tokenizer.backend_tokenizer.pre_tokenizer, pre_tokenizers.Metaspace)
    cases = list(random_cases(300, spaces=[" ", "  "] if is_metaspace else SPACES))
    rows = rows_of(*cases)
    features = make_qa_windows(rows, tokenizer, max_length, doc_stride)
    labelled = set()
    for window, example in enumerate(features["example"]):
        context, answer, _ = cases[example]
        if features["start_positions"][window] > 0:
            labelled.add(example)
            assert labelled_text(features, window, context) == answer.strip()
            assert features["start_positions"][window] <= features["end_positions"][window]
        else:
            assert features["end_positions"][window] == 0
    assert max_length < 1000 or labelled == set(range(len(cases)))
    assert len(labelled) > 50


@pytest.mark.parametrize(("max_length", "doc_stride"), [(40, 12), (24, 8), (24, 0), (17, 5)])
def test_windows_equal_the_overflowing_tokens_of_transformers(tokenizer, max_length, doc_stride):
    rows = rows_of(*random_cases(100, seed=1))
    features = make_qa_windows(rows, tokenizer, max_length, doc_stride)
    limits = {"max_length": max_length, "stride": doc_stride, "truncation": "only_second"}
    expected = tokenizer(rows["question"], rows["context"], return_overflowing_tokens=True, **limits)
    for name in tokenizer.model_input_names:
        assert features[name] == expected[name]
    assert features["example"] == expected["overflow_to_sample_mapping"]
    assert set(features) == {*tokenizer.model_input_names, "start_positions", "end_positions", "offsets", "example"}
    assert list(map(len, features["offsets"])) == list(map(len, features["input_ids"]))


def test_answer_is_labelled_exactly_in_windows_that_contain_it(plain):
    cases = list(random_cases(200, seed=2))
    whole = make_qa_windows(rows_of(*cases), plain, 1000, 0)
    windows = make_qa_windows(rows_of(*cases), plain, 20, 6)
    step = 0
    for window, example in enumerate(windows["example"]):
        ids = windows["input_ids"][window]
        step = 0 if window == 0 or windows["example"][window - 1] != example else step + 1
        before = windows["offsets"][window].count([-1, -1]) - 1
        shift = step * (20 - before - 1 - 6)
        first, last = whole["start_positions"][example] - shift, whole["end_positions"][example] - shift
        contains_answer = before <= first and last < len(ids) - 1
        expected = (first, last) if contains_answer else (0, 0)
        assert (windows["start_positions"][window], windows["end_positions"][window]) == expected


def test_spans_are_the_fewest_tokens_that_contain_the_answer():
    tokenizer = with_template(train_tokenizer(["the category"] * 9, 300, 1000))
    features = make_qa_windows(rows_of(("the category", "cat", 4)), tokenizer, 100, 0)
    assert labelled_text(features, 0, "the category") == "category"
    # all bytes of one character
    features = make_qa_windows(rows_of(("a 😀 b", "😀", 2)), byte_level(258), 100, 0)
    start, end = features["start_positions"][0], features["end_positions"][0]
    assert features["offsets"][0][start : end + 1] == [[2, 3]] * 4


def test_windows_by_hand(plain):
    row = rows_of(("x x x x x", "x x", 2), ("", None, 0))
    before = len(plain("who sat", add_special_tokens=False).input_ids) + 2
    features = make_qa_windows(row, plain, max_length=before + 1 + 3, doc_stride=1)
    assert features["example"] == [0, 0, 1]
    inside = [[pair for pair in pairs if pair != [-1, -1]] for pairs in features["offsets"]]
    # tokens: x, Ġx, Ġx, Ġx, Ġx; windows of three tokens that share one
    assert inside == [[[0, 1], [2, 3], [4, 5]], [[4, 5], [6, 7], [8, 9]], []]
    assert features["start_positions"] == [before + 1, 0, 0]
    assert features["end_positions"] == [before + 2, 0, 0]
    assert list(map(sum, features["attention_mask"])) == [before + 4, before + 4, before + 1]


def test_given_row_numbers_are_read(plain):
    rows = rows_of(("the cat", "cat", 4), ("the cat", None, 0)) | {"row": [7, 9]}
    assert make_qa_windows(rows, plain, 100, 10)["example"] == [7, 9]


def test_an_answer_must_have_tokens():
    rows = rows_of(("the \u200b cat", "\u200b", 4))
    with pytest.raises(
        RowError, match=r"has the answer '\\u200b' at character 4, for which the tokenizer has no token"
    ):
        make_qa_windows(rows, TOKENIZERS["bert"](), 100, 10)


def test_questions_without_space_for_context_or_no_answer_are_refused(plain):
    rows = rows_of(("the cat", "cat", 4))
    question = len(plain("who sat", add_special_tokens=False).input_ids)
    make_qa_windows(rows, plain, question + 3 + 6, 5)
    with pytest.raises(ValueError, match=rf"has too long a question: {question} tokens, .* leave 5 of --max_length"):
        make_qa_windows(rows, plain, question + 3 + 5, 5)
    with pytest.raises(ValueError, match="doc_stride -1 is negative"):
        make_qa_windows(rows, plain, 100, -1)
    with pytest.raises(ValueError, match="no special token before"):
        make_qa_windows(rows, train_tokenizer(TEXTS, 300, 100), 100, 10)


@pytest.mark.parametrize(("max_length", "doc_stride"), [(1000, 0), (40, 16)])
def test_logits_of_the_labels_give_the_answers(plain, max_length, doc_stride):
    cases = [*random_cases(100, seed=3), ("the cat", None, 0), ("", None, 0)]
    rows = rows_of(*cases)
    features = make_qa_windows(rows, plain, max_length, doc_stride)
    starts, ends = label_logits(features)
    found = best_answers(starts, ends, features, rows, max_answer_tokens=1000, allow_null=True)
    assert list(found) == rows["id"]
    answered = {row for row, start in zip(features["example"], features["start_positions"], strict=True) if start}
    for example, (name, (_, answer, _)) in enumerate(zip(rows["id"], cases, strict=True)):
        assert found[name]["text"] == (answer.strip() if example in answered else "")
        assert (found[name]["no_answer_probability"] < 0.5) == (example in answered)


def slow_best(starts, ends, offsets, context, max_answer_tokens):
    """The definition of the best span, as loops."""
    best, text = -np.inf, ""
    for row, pairs in enumerate(offsets):
        for i, (begin, after) in enumerate(pairs):
            for j, (left, stop) in enumerate(pairs[i : i + max_answer_tokens], start=i):
                if 0 <= begin < after and left < stop and starts[row, i] + ends[row, j] > best:
                    best, text = starts[row, i] + ends[row, j], context[begin:stop]
    return best, text


@pytest.mark.parametrize("max_answer_tokens", [1, 4, 500])
def test_best_span_is_the_best_of_all(plain, max_answer_tokens):
    rows = rows_of(*random_cases(40, seed=4))
    features = make_qa_windows(rows, plain, 30, 8)
    windows = len(features["example"])
    starts, ends = np.random.default_rng(0).normal(size=(2, windows, 35)).astype(np.float32)
    starts[:, 30:] = ends[:, 30:] = 99.0  # padding
    results = [best_answers(starts, ends, features, rows, 20, max_answer_tokens, allow_null=null) for null in (0, 1)]
    for example, (name, context) in enumerate(zip(rows["id"], rows["context"], strict=True)):
        indices = [window for window in range(windows) if features["example"][window] == example]
        offsets = [features["offsets"][window] for window in indices]
        score, text = slow_best(starts[indices], ends[indices], offsets, context, max_answer_tokens)
        null = (starts[indices, 0] + ends[indices, 0]).min()
        assert [found[name]["text"] for found in results] == [text, "" if null > score else text]
        assert [found[name]["score"] for found in results] == pytest.approx([score, max(null, score)])


def hand_features():
    """Two windows of "a b c": [special] a b, and [special] b c."""
    examples = {"id": ["q"], "context": ["a b c"]}
    return {"offsets": [[[-1, -1], [0, 1], [2, 3]], [[-1, -1], [2, 3], [4, 5]]], "example": [0, 0]}, examples


def test_scores_by_hand():
    features, examples = hand_features()
    starts, ends = np.array([[1.0, 0, 2], [3, 1, 0]]), np.array([[1.0, 0, 1], [3, 2, 0]])
    found = best_answers(starts, ends, features, examples, allow_null=True)["q"]
    # spans: a 0, "a b" 1, b max(3, 3), "b c" 1, c 0; no answer: min(2, 6) = 2
    weights = np.exp([2, 0, 1, 3, 1, 0])
    assert (found["text"], found["score"]) == ("b", 3)
    assert found["no_answer_probability"] == pytest.approx(weights[0] / weights.sum())
    single = best_answers(starts, ends, features, examples, n_best=1, allow_null=True)["q"]
    assert single["no_answer_probability"] == pytest.approx(1 / (1 + np.e))


@pytest.mark.parametrize(
    ("threshold", "allow_null", "text"), [(0, True, ""), (0, False, "b"), (0.9, True, ""), (1.0, True, "b")]
)
def test_no_answer_must_be_better_by_the_threshold(threshold, allow_null, text):
    features, examples = hand_features()
    starts, ends = np.array([[2.0, 0, 2], [3, 1, 0]]), np.array([[2.0, 0, 1], [3, 2, 0]])
    found = best_answers(starts, ends, features, examples, null_threshold=threshold, allow_null=allow_null)["q"]
    assert (found["text"], found["score"]) == (text, 3 if text else 4)


@pytest.mark.parametrize(
    ("last_start", "last_end", "longest", "text", "score"),
    [(3, 0, 2, "ab", 3), (3, 3.5, 2, "cd", 6.5), (-9, 3.5, 3, "ab  cd", 3.5)],
)
def test_invalid_spans_never_win(last_start, last_end, longest, text, score):
    """High logits outside the context, in the padding, on white space, for end before start, and for long spans."""
    features = {"offsets": [[[-1, -1], [-1, -1], [0, 2], [3, 3], [4, 6], [-1, -1]]], "example": [0]}
    starts, ends = [[9, 9, 0, 9, last_start, 9, 9]], [[9, 9, 3, 9, last_end, 9, 9]]
    examples = {"id": ["q"], "context": ["ab  cd"]}
    found = best_answers(starts, ends, features, examples, max_answer_tokens=longest, allow_null=False)["q"]
    assert (found["text"], found["score"]) == (text, score)


def test_context_without_tokens_has_no_answer(plain):
    rows = rows_of(("", None, 0), (" \n", None, 0))
    features = make_qa_windows(rows, plain, 30, 8)
    starts, ends = np.zeros((2, 2, 30))
    found = best_answers(starts, ends, features, rows, allow_null=False)
    assert found == {name: {"text": "", "score": 0.0, "no_answer_probability": 1.0} for name in rows["id"]}


GOOD = np.zeros((2, 3))
DUPLICATES, MORE = ({"id": ["q", other], "context": ["a b c"] * 2} for other in "qr")


@pytest.mark.parametrize(
    ("starts", "ends", "changes", "message"),
    [
        (GOOD[:1], GOOD[:1], {}, "one row for each of the 2 windows"),
        (GOOD, GOOD[:, :2], {}, "one row for each"),
        (GOOD[0], GOOD[0], {}, "one row for each"),
        (GOOD[:, :2], GOOD[:, :2], {}, "3 tokens but only 2 logits"),
        (GOOD, GOOD * np.nan, {}, "NaN"),
        (GOOD, GOOD, {"examples": DUPLICATES}, "id q;"),
        (GOOD, GOOD, {"examples": MORE}, r"1 of 2 examples have no window \(r\)"),
        (GOOD, GOOD, {"features": hand_features()[0] | {"example": [0, 1]}}, "have no window"),
        (GOOD, GOOD, {"n_best": 0}, r"n_best \(0\)"),
    ],
)
def test_mismatched_arguments_are_refused(starts, ends, changes, message):
    features, examples = hand_features()
    with pytest.raises(ValueError, match=message):
        best_answers(starts, ends, **{"features": features, "examples": examples, "allow_null": True} | changes)


@pytest.mark.skipif("HF_TFM_DATA" not in os.environ, reason="HF_TFM_DATA names no folder of data")
def test_answers_of_real_questions_are_restored():
    path = Path(os.environ["HF_TFM_DATA"], "qa_xquad_en", "xquad.en.json")
    paragraphs = [text for article in json.loads(path.read_text())["data"] for text in article["paragraphs"]]
    questions = [{**question, "context": text["context"]} for text in paragraphs for question in text["qas"]]
    rows = {name: [question[name] for question in questions] for name in ("id", "context", "question")}
    rows["answers"] = [answers_of(question["answers"], question["context"]) for question in questions]
    tokenizer = with_template(train_tokenizer(rows["context"], 4096, 1000))
    features = make_qa_windows(rows, tokenizer, 384, 128)
    found = best_answers(*label_logits(features), features, rows, max_answer_tokens=100, allow_null=True)
    pairs = [(found[question["id"]]["text"], question["answers"][0]["text"]) for question in questions]
    assert all(answer in text for text, answer in pairs)
    # The other answers end inside a token: "20" in "20th".
    assert sum(text == answer for text, answer in pairs) > 0.97 * len(pairs)
