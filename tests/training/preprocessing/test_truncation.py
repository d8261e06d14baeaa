"""Texts that are too long are refused with their location, or truncated and counted; special tokens are kept."""

import pytest
from datasets import Dataset

from hf_tfm.training.preprocessing.truncation import report_truncated, tokenize_within
from tests.training.tiny import make_tiny

LONG = "many words " * 30
# task -> a row that is too long
LONG_ROWS = {
    "seq2seq": {"source": LONG, "target": "x"},
    "sequence-classification": {"text": LONG, "label": "a"},
    "multiple-choice": {"stem": LONG, "choices": ["a", "b"], "label": 0},
    "chat": {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": LONG}]},
}
SHORT_ROWS = {
    "seq2seq": {"source": "x", "target": "x"},
    "sequence-classification": {"text": "x", "label": "b"},
    "multiple-choice": {"stem": "x", "choices": ["a", "b"], "label": 0},
    "chat": {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
}


@pytest.mark.parametrize("task", LONG_ROWS)
def test_a_long_text_is_refused_with_location_and_option(task):
    with pytest.raises(ValueError, match=r"train, row 2 has \d+ tokens, more than --max_length 48") as caught:
        make_tiny(task, [SHORT_ROWS[task], LONG_ROWS[task]])
    assert "--long_texts truncate" in str(caught.value)


def test_a_long_target_is_refused_with_its_own_option():
    with pytest.raises(ValueError, match="more than --max_target_length 16"):
        make_tiny("seq2seq", [{"source": "x", "target": LONG}])


@pytest.mark.parametrize("task", LONG_ROWS)
def test_a_long_text_is_truncated_and_counted(task, capsys):
    tiny = make_tiny(task, [SHORT_ROWS[task], LONG_ROWS[task]], long_texts="truncate")
    assert "1 of 2 train rows are longer than --max_length" in capsys.readouterr().out
    ids = tiny.examples["train"]["input_ids"][1]
    ids = ids[0] if task == "multiple-choice" else ids
    assert len(ids) == 48
    assert "truncated" not in tiny.examples["train"].column_names
    if task != "chat":
        ends = {tiny.tokenizer.sep_token_id, tiny.tokenizer.eos_token_id}
        assert ids[-1] in ends


def test_texts_that_fit_are_not_changed_and_nothing_is_printed(capsys):
    tiny = make_tiny("sequence-classification", long_texts="truncate")
    assert "cut" not in capsys.readouterr().out
    expected = [tiny.tokenizer(text).input_ids for text in tiny.data.splits["test"]["text"]]
    assert tiny.examples["test"]["input_ids"][:] == expected


@pytest.mark.parametrize("limit", [5, 6, 30, 100])
def test_pairs_keep_both_texts_and_all_special_tokens(limit):
    tokenizer = make_tiny("sequence-classification").tokenizer
    encoded = tokenize_within(tokenizer, [LONG, "a"], ["b " * 40, "c"], limit, "truncate", "--max_length")
    separators = [ids.count(tokenizer.sep_token_id) for ids in encoded["input_ids"]]
    assert separators == [2, 2]
    assert encoded["input_ids"][0][-1] == tokenizer.sep_token_id
    assert len(encoded["input_ids"][0]) == limit
    assert encoded["truncated"] == [True, False]


def test_truncated_rows_are_counted_for_tables_only(capsys):
    table = Dataset.from_dict({"a": [1, 2, 3], "truncated": [True, False, True]})
    assert report_truncated(table, "test", "--max_length").column_names == ["a"]
    assert capsys.readouterr().out.startswith("2 of 3 test rows")
    assert next(iter(report_truncated(table.to_iterable_dataset(), "test", "--max_length"))) == {"a": 1}
