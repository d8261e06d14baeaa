"""Rows for causal language modelling: every token is predicted once, in its context, whatever the lengths."""

import math

import pytest
import torch
from datasets import Dataset, DatasetDict

from hf_tfm.modeling.recipes import RECIPES
from hf_tfm.training.arguments import ModelArguments
from hf_tfm.training.data import SPLITS, Documents
from hf_tfm.training.metrics import sum_next_token_losses
from hf_tfm.training.objectives import OBJECTIVES, cut_rows, get_objective
from hf_tfm.training.tokenizer import train_tokenizer

IGNORED = -100


@pytest.mark.parametrize("length", [2, 3, 8])
@pytest.mark.parametrize("count", range(2, 30))
def test_every_token_but_the_first_is_predicted_once(count, length):
    tokens = list(range(1000, 1000 + count))
    predicted = []
    for ids, labels in cut_rows(tokens, length, padding=0):
        assert len(ids) == len(labels) == length
        for position in range(1, length):
            if labels[position] != IGNORED:
                assert labels[position] == ids[position] == ids[position - 1] + 1
                predicted.append(labels[position])
    assert predicted == tokens[1:]


def test_padding_stands_at_the_right_and_is_not_scored():
    [(ids, labels)] = cut_rows([5, 6, 7], 5, padding=0)
    assert ids == [5, 6, 7, 0, 0]
    assert labels == [IGNORED, 6, 7, IGNORED, IGNORED]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["Return the value of the key."] * 3, vocab_size=270, model_max_length=16)


def make_documents(count):
    texts = [f"Return the value of key {i}." * (i % 4 + 1) for i in range(count)]
    return DatasetDict({name: Dataset.from_dict({"text": texts}) for name in SPLITS})


# 2500 documents are more than one batch of the host's map
@pytest.mark.parametrize("count", [1, 7, 2500])
def test_every_token_of_every_document_and_its_end_is_scored_once(tokenizer, count):
    documents = make_documents(count)
    rows = OBJECTIVES["causal-lm"].examples(documents, tokenizer, 16, None)["test"]
    scored = [label for row in rows["labels"] for label in row[1:] if label != IGNORED]
    ends = [
        [*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        for text in documents["test"]["text"]
    ]
    assert scored == [token for document in ends for token in document]


def test_bits_per_byte_equal_a_hand_computation(tokenizer, tmp_path):
    """A model that knows nothing needs log2(V) bits per token, ends of documents included."""
    documents = Documents(make_documents(7), "", is_default=False)
    objective = OBJECTIVES["causal-lm"]
    rows = objective.examples(documents.splits, tokenizer, 16, None)["test"]
    labels = torch.tensor(rows["labels"][:])
    kept = sum_next_token_losses(torch.zeros(*labels.shape, len(tokenizer)), labels)
    prediction = type("Prediction", (), {"predictions": kept.numpy()})
    results = objective.measure(tmp_path, documents.source_bytes["test"])(prediction)
    texts = documents.splits["test"]["text"][:]
    tokens = sum(len(tokenizer(text).input_ids) + 1 for text in texts)
    assert results["scored_tokens"] == tokens
    assert results["bits_per_byte"] == pytest.approx(
        tokens * math.log2(len(tokenizer)) / sum(map(len, texts)), rel=1e-6
    )


@pytest.mark.parametrize("task", OBJECTIVES)
def test_every_objective_fills_its_blanks_and_builds(task, tokenizer):
    objective = get_objective(task)
    assert objective.task == task
    args = ModelArguments(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    model = objective.build(args, tokenizer, 16)
    assert isinstance(model, objective.model_class)
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.max_position_embeddings == 16
    assert model.config.eos_token_id == tokenizer.eos_token_id
    rows = objective.examples(make_documents(3), tokenizer, 16, None)["train"]
    assert torch.isfinite(model(**objective.collator([rows[i] for i in range(2)])).loss)


@pytest.mark.parametrize("recipe", [name for name, (kinds, _) in RECIPES.items() if "tfm_decoder" in kinds])
def test_every_decoder_recipe_learns_the_task(recipe, tokenizer):
    args = ModelArguments(recipe, hidden_size=16, num_hidden_layers=2, num_attention_heads=2)
    objective = get_objective("causal-lm")
    model = objective.build(args, tokenizer, 16)
    rows = objective.examples(make_documents(3), tokenizer, 16, None)["train"]
    batch = objective.collator([rows[i] for i in range(2)])
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(8):
        losses.append(model(**batch).loss)
        losses[-1].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]


def test_overrides_reach_the_configuration(tokenizer):
    args = ModelArguments(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, config_overrides='{"residual_type": "sandwich"}'
    )
    assert get_objective("causal-lm").build(args, tokenizer, 16).config.residual_type == "sandwich"


def test_positions_fewer_than_a_row_are_refused(tokenizer):
    with pytest.raises(ValueError, match="--block_size"):
        get_objective("causal-lm").build(ModelArguments(max_position_embeddings=8), tokenizer, 16)


def test_unknown_task_lists_the_known_ones():
    with pytest.raises(ValueError, match="causal-lm"):
        get_objective("juggling")


def test_block_of_one_token_is_refused(tokenizer):
    with pytest.raises(ValueError, match="--block_size 1"):
        OBJECTIVES["causal-lm"].examples(make_documents(1), tokenizer, 1, None)
