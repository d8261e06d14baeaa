"""Packed rows of text: for all lengths, every token is predicted once and in its context."""

import math

import pytest
import torch
from datasets import Dataset
from transformers import EvalPrediction

from hf_tfm.training.arguments.task_arguments import TaskArguments
from hf_tfm.training.data.sources import TaskData
from hf_tfm.training.data.splits import SPLITS
from hf_tfm.training.data.tokenizer import train_tokenizer
from hf_tfm.training.objectives import OBJECTIVES
from hf_tfm.training.objectives.causal_lm import split_into_rows
from hf_tfm.training.preprocessing.rows import LOCATION
from tests.training.tiny import make_tiny

IGNORED = -100


@pytest.mark.parametrize("length", [2, 3, 8])
@pytest.mark.parametrize("count", range(2, 30))
def test_every_token_but_the_first_is_predicted_once(count, length):
    tokens = list(range(1000, 1000 + count))
    predicted = []
    for ids, labels in split_into_rows(tokens, length, padding=0):
        assert len(ids) == len(labels) == length
        for position in range(1, length):
            if labels[position] != IGNORED:
                assert labels[position] == ids[position] == ids[position - 1] + 1
                predicted.append(labels[position])
    assert predicted == tokens[1:]


def test_padding_is_on_the_right_and_has_no_label():
    [(ids, labels)] = split_into_rows([5, 6, 7], 5, padding=0)
    assert ids == [5, 6, 7, 0, 0]
    assert labels == [IGNORED, 6, 7, IGNORED, IGNORED]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["Return the value of the key."] * 3, vocab_size=270, model_max_length=16)


def make_texts(count):
    return [f"Return the value of key {i}." * (i % 4 + 1) for i in range(count)]


def make_rows(texts, tokenizer, packing="connected", length=16, task="causal-lm"):
    objective = OBJECTIVES[task](TaskArguments(block_size=length, packing=packing))
    splits = {"test": Dataset.from_dict({"text": texts, LOCATION: texts})}
    return objective, objective.examples(splits, tokenizer, None)["test"]


def with_ends(texts, tokenizer):
    return [[*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id] for text in texts]


# 2500 documents are more than one batch of Dataset.map.
@pytest.mark.parametrize("packing", ["connected", "separate"])
@pytest.mark.parametrize("count", [1, 7, 2500])
def test_every_token_of_every_document_and_its_end_is_predicted_once(tokenizer, count, packing):
    texts = make_texts(count)
    _, rows = make_rows(texts, tokenizer, packing)
    assert {len(row) for row in rows["input_ids"]} == {16}
    predicted = [label for row in rows["labels"] for label in row[1:] if label != IGNORED]
    assert predicted == [token for document in with_ends(texts, tokenizer) for token in document]


@pytest.mark.parametrize("packing", ["connected", "separate"])
def test_bits_per_byte_follow_the_formula(tokenizer, tmp_path, packing):
    """A uniform model needs log2(V) bits per token, the ends of documents included."""
    texts = make_texts(7)
    objective, rows = make_rows(texts, tokenizer, packing)
    data = TaskData(
        dict.fromkeys(SPLITS, Dataset.from_dict({"text": texts, LOCATION: texts})),
        "",
        is_default=False,
        objective=objective,
    )
    labels = torch.tensor(rows["labels"][:])
    kept = objective.preprocess_logits(torch.zeros(*labels.shape, len(tokenizer)), labels).numpy()
    compute_metrics = objective.make_compute_metrics(
        data.splits["test"], rows, tokenizer, tmp_path, data.source_bytes["test"]
    )
    results = compute_metrics(EvalPrediction(kept, labels.numpy()))
    tokens = sum(map(len, with_ends(texts, tokenizer)))
    assert results["scored_tokens"] == tokens
    assert results["bits_per_byte"] == pytest.approx(
        tokens * math.log2(len(tokenizer)) / sum(map(len, texts)), rel=1e-6
    )


def test_bits_per_byte_of_some_of_the_rows_are_refused(tmp_path):
    """They would be too small, because they are divided by the bytes of the whole text."""
    tiny = make_tiny("causal-lm")
    kept = tiny.kept(tiny.model())
    with pytest.raises(ValueError, match="need all of the text"):
        tiny.measure(EvalPrediction(kept.predictions[:-1], kept.label_ids[:-1]), tmp_path)


def test_positions_restart_at_each_document_and_at_the_padding(tokenizer):
    _, rows = make_rows(["a", "b c"], tokenizer, "separate", length=12)
    end = tokenizer.eos_token_id
    [row] = list(rows)
    starts = [at for at, position in enumerate(row["position_ids"]) if position == 0]
    pieces = [row["position_ids"][a:b] for a, b in zip(starts, [*starts[1:], 12], strict=True)]
    assert [list(range(len(piece))) for piece in pieces] == pieces
    assert [row["input_ids"][at] for at in starts] == [end] * 3
    assert [row["labels"][at] for at in starts] == [IGNORED] * 3
    assert set(row["labels"][starts[-1] :]) == {IGNORED}


@pytest.mark.parametrize("position_type", ["rotary", "learned", "alibi", "relative_bias", "sinusoidal", "none"])
def test_loss_of_packed_rows_is_the_loss_of_separate_documents(position_type):
    """The sum over all tokens is equal, because no token attends to another document."""
    texts = make_texts(5)
    tiny = make_tiny("causal-lm", [{"text": text} for text in texts], packing="separate", block_size=128)
    overrides = f'{{"position_type": "{position_type}", "num_hidden_layers": 2, "initializer_range": 0.2}}'
    model = tiny.model(config_overrides=overrides)
    packed = tiny.examples["test"]
    assert len(packed) < len(texts)
    batch = tiny.objective.collator(tiny.tokenizer, model, False)(list(packed))
    with torch.no_grad():
        packed_loss = tiny.objective.preprocess_logits(model(**batch).logits, batch["labels"]).sum(0)
        separate_loss = torch.zeros(2)
        for document in with_ends(texts, tiny.tokenizer):
            ids = torch.tensor([[tiny.tokenizer.eos_token_id, *document]])
            separate_loss += tiny.objective.preprocess_logits(model(ids).logits, ids).sum(0)
    assert packed_loss[1] == separate_loss[1]
    torch.testing.assert_close(packed_loss, separate_loss, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("task", ["masked-lm", "denoising"])
def test_rows_contain_every_token_once_between_special_tokens(task):
    tiny = make_tiny(task, [{"text": text} for text in make_texts(6)], block_size=12)
    special = set(tiny.tokenizer.all_special_ids)
    rows = tiny.examples["test"]["input_ids"][:]
    assert max(map(len, rows)) == 12
    tokens = [token for row in rows for token in row if token not in special]
    texts = tiny.data.splits["test"]["text"]
    assert tokens == [token for text in texts for token in tiny.tokenizer(text, add_special_tokens=False).input_ids]
    ends = {tiny.tokenizer.sep_token_id} if task == "masked-lm" else {tiny.tokenizer.eos_token_id}
    assert {row[-1] for row in rows} == ends
