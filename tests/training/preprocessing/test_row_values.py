"""The usual layouts of answers, choices, messages and words are read; others are refused with one sentence."""

import json

import pytest

from hf_tfm.training.preprocessing.row_values import (
    RowError,
    answers_of,
    choices_of,
    label_of,
    messages_of,
    text_list,
    text_of,
)

CONTEXT = "He lives in  Lyon, France."
LYON = {"text": ["Lyon"], "answer_start": [13]}
NONE = {"text": [], "answer_start": []}
USER, ASSISTANT = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}


@pytest.mark.parametrize(
    "answers",
    [
        LYON,
        {"text": "Lyon", "answer_start": 13},
        [{"text": "Lyon", "answer_start": 13, "answer_id": 4}],
        json.dumps(LYON),
        # off by white space at its ends, as in published files
        {"text": " Lyon ", "answer_start": 13},
        {"text": "Lyon", "answer_start": 11},
        {"text": [" Lyon"], "answer_start": [12]},
    ],
)
def test_layouts_of_answers(answers):
    assert answers_of(answers, CONTEXT) == LYON


def test_questions_without_an_answer():
    for empty in (NONE, [], "[]"):
        assert answers_of(empty, CONTEXT) == answers_of(empty, CONTEXT, is_impossible=True) == NONE
    assert answers_of(None, CONTEXT, is_impossible=True) == NONE


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (None, "has no answers"),
        ("Lyon", "has answers that are not"),
        (7, "has answers that are not"),
        (["Lyon"], "has answers that are not"),
        ({"text": ["Lyon"], "answer_start": 13}, "no lists of the same length"),
        ({"text": ["Lyon"], "answer_start": []}, "no lists of the same length"),
        ({"text": "Lyon"}, "the answer_start None, which is no whole number"),
        ({"text": "Lyon", "answer_start": "13"}, "no whole number"),
        ({"text": " ", "answer_start": 13}, "answer without text"),
        ({"text": None, "answer_start": 13}, "answer without text"),
        ({"answer": "Lyon"}, "answer without text"),
        ({"text": "Lyon", "answer_start": 3}, "at character 3 of its context, where there is 'live'; it stands at 13"),
        ({"text": "Lyon", "answer_start": -1}, "where there is ''; it stands at 13"),
        ({"text": "Lyon", "answer_start": 999}, "where there is ''"),
        ({"text": "Paris", "answer_start": 13}, "it is nowhere in the context"),
        ({"text": ["Lyon", "Paris"], "answer_start": [13, 0]}, "'Paris'"),
    ],
)
def test_other_answers_are_refused(answers, message):
    with pytest.raises(RowError, match=message):
        answers_of(answers, CONTEXT)
    with pytest.raises(RowError, match="says is_impossible, and has answers"):
        answers_of(LYON, CONTEXT, is_impossible=True)


def test_layouts_of_choices():
    for choices in (["a", "7"], ["a", 7], '["a", 7]', {"text": ["a", "7"]}):
        assert choices_of(choices) == (["a", "7"], [])
    assert choices_of({"text": ["a", "b"], "label": ["A", "B"]}) == (["a", "b"], ["A", "B"])


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (None, "has no choices"),
        ([], "has no choices"),
        ("a|b", "has choices that are no list: 'a|b'"),
        ({"A": "a"}, "has choices that are no list"),
        (["a", None], "has no text in its choices"),
        (["a", ["b"]], "a text in its choices that is no text"),
        ({"text": ["a", "b"], "label": ["A"]}, "2 choices and the keys A"),
        ({"text": ["a", "b"], "label": ["A", "A"]}, "each choice needs a key of its own"),
    ],
)
def test_other_choices_are_refused(choices, message):
    with pytest.raises(RowError, match=message.replace("|", r"\|")):
        choices_of(choices)


@pytest.mark.parametrize(
    "messages",
    [
        [USER, ASSISTANT],
        json.dumps([USER, ASSISTANT]),
        [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}],
        [USER | {"role": "User"}, ASSISTANT | {"role": "model"}],
        [USER | {"content": [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]}, ASSISTANT],
        [USER | {"name": "Ann", "value": None}, ASSISTANT],
    ],
)
def test_layouts_of_messages(messages):
    assert messages_of(messages) == [USER, ASSISTANT]


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (None, "has no messages"),
        ("hello", "is not a list of messages"),
        (["hello"], "is not a list of messages"),
        (USER, "is not a list of messages"),
        ([USER], "no message of the assistant, .* its roles are: user"),
        ([], "its roles are: none"),
        ([USER, ASSISTANT | {"content": None}], "no role or no text in message 2"),
        ([{"content": "x"}], "no role or no text in message 1"),
        ([USER | {"content": [{"type": "image"}]}], "no role or no text in message 1"),
        ([USER, ASSISTANT | {"content": "\ud800"}], "half a character"),
    ],
)
def test_other_messages_are_refused(messages, message):
    with pytest.raises(RowError, match=message):
        messages_of(messages)


def test_texts_and_lists_of_texts():
    assert [text_of(value, "text") for value in (" a ", 7, 1.0, 0.5, True)] == [" a ", "7", "1", "0.5", "true"]
    assert text_list(["a", 1], "tokens") == text_list('["a", "1"]', "tokens") == ["a", "1"]
    assert label_of("[1]") == "[1]"
    for value in (None, "", " \n", float("nan")):
        with pytest.raises(RowError, match="has no text"):
            text_of(value, "text")
    for value in ([1], {"a": 1}, b"x"):
        with pytest.raises(RowError, match="has a text that is no text"):
            text_of(value, "text")
    with pytest.raises(RowError, match="has tokens that are no list: 'a b'"):
        text_list("a b", "tokens")
