"""The trained tokenizer: any text comes back, and training is repeatable."""

import pytest
from transformers import AutoTokenizer

from hf_tfm.training.tokenizer import END_OF_TEXT, make_tokenizer, train_tokenizer

TEXTS = ["Return the value of the key, or None.", "This module defines classes.  It has no functions.\n\n    >>> x = 1"]
AWKWARD = ["  two  spaces ", "tabs\tand\r\nlines\n", "café 😀 ﷽ 日本", "".join(map(chr, range(256))), "a" * 300, ""]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS * 5, vocab_size=300, model_max_length=64)


@pytest.mark.parametrize("text", AWKWARD)
def test_text_survives_the_round_trip(tokenizer, text):
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_saved_tokenizer_is_the_same(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in AWKWARD:
        assert loaded(text).input_ids == tokenizer(text).input_ids
        assert loaded.decode(loaded(text).input_ids) == text
    assert (loaded.eos_token, loaded.bos_token, loaded.model_max_length) == (END_OF_TEXT, END_OF_TEXT, 64)
    assert loaded.pad_token_id is not None
    assert loaded.pad_token_id != loaded.eos_token_id


def test_training_twice_gives_the_same_tokenizer(tokenizer):
    again = train_tokenizer(TEXTS * 5, vocab_size=300, model_max_length=64)
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_vocabulary_is_as_large_as_asked(tokenizer):
    assert len(tokenizer) == 300


def test_too_small_a_vocabulary_is_refused():
    with pytest.raises(ValueError, match="258"):
        train_tokenizer(TEXTS, vocab_size=100, model_max_length=64)


def test_ready_tokenizer_is_reused(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    assert len(make_tokenizer(str(tmp_path), [], vocab_size=4096, model_max_length=8)) == 300


def test_ready_tokenizer_without_end_token_is_refused(tmp_path):
    bare = train_tokenizer(TEXTS, vocab_size=300, model_max_length=64)
    bare.eos_token = None
    bare.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no eos_token"):
        make_tokenizer(str(tmp_path), [], vocab_size=4096, model_max_length=8)
