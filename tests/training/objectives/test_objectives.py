"""Every task from rows to results: examples, batches, the loss of a tiny model, kept predictions and metrics."""

import ast
import math

import numpy as np
import pytest
import torch
import transformers
from transformers import EvalPrediction

from hf_tfm.modeling.recipes import RECIPES
from hf_tfm.training.arguments.task_arguments import TaskArguments
from hf_tfm.training.builtin_data.builtin_datasets import BUILTIN_DATASETS
from hf_tfm.training.data.tokenizer import train_tokenizer
from hf_tfm.training.objectives import OBJECTIVES
from hf_tfm.usage import checkpoint_arguments, python_literal
from tests.training.tiny import ROWS, SIZES, WORDS, make_tiny, sentence

HEADS = [(task, kind) for task, objective in OBJECTIVES.items() for kind in objective.models]
RECIPE_HEADS = [(task, kind, name) for task, kind in HEADS for name, (kinds, _) in RECIPES.items() if kind in kinds]
LANGUAGE_MODELS = ("causal-lm", "masked-lm", "denoising", "chat")
PAIRS = [{"text": sentence(i), "text_pair": WORDS[i % 8], "label": WORDS[i % 2]} for i in range(8)]
SEVERAL = [{"text": sentence(i), "label": [word for word in WORDS[:3] if (i + len(word)) % 2]} for i in range(8)]
NUMBERS = [{"text": sentence(i), "label": i / 4} for i in range(8)]
ANSWERED = [ROWS["question-answering"](i) for i in range(9) if i % 3]
PLAIN_TAGS = [{"tokens": ["Sky", WORDS[i % 8]], "tags": ["noun", "adjective"]} for i in range(8)]
TRIPLETS = [ROWS["embeddings"](i) | {"negative": f"It is {WORDS[i % 3]} tomorrow"} for i in range(8)]
RANKING_METRICS = {"recall_at_10", "recall_at_1", "mrr"}
CLASS_METRICS = {"accuracy", "f1", "matthews_correlation"}
# name -> task, rows, options, names of results
CASES = {
    "causal-lm": ("causal-lm", None, {}, {"bits_per_byte", "nats_per_token", "perplexity"}),
    "causal-lm, separate": (
        "causal-lm", None, {"packing": "separate", "block_size": 48}, {"bits_per_byte", "nats_per_token", "perplexity"}
    ),
    "masked-lm": ("masked-lm", None, {}, {"nats_per_token", "perplexity", "accuracy"}),
    "masked-lm, words": ("masked-lm", None, {"mask_unit": "whole_word"}, {"nats_per_token", "perplexity", "accuracy"}),
    "masked-lm, spans": ("masked-lm", None, {"mask_unit": "span"}, {"nats_per_token", "perplexity", "accuracy"}),
    "denoising": ("denoising", None, {}, {"nats_per_token", "perplexity"}),
    "denoising, bart": ("denoising", None, {"noise": "bart"}, {"nats_per_token", "perplexity"}),
    "classes": ("sequence-classification", None, {}, CLASS_METRICS),
    "classes of pairs": ("sequence-classification", PAIRS, {}, CLASS_METRICS),
    "several labels": ("sequence-classification", SEVERAL, {}, {"accuracy", "f1", "micro_f1"}),
    "numbers": ("sequence-classification", NUMBERS, {}, {"pearsonr", "spearmanr", "rmse"}),
    "spans": ("token-classification", None, {}, {"f1", "precision", "recall", "accuracy"}),
    "tags": ("token-classification", PLAIN_TAGS, {}, {"f1", "accuracy"}),
    "questions": ("question-answering", None, {}, {"exact_match", "f1", "HasAns_exact", "NoAns_exact"}),
    "answered questions": ("question-answering", ANSWERED, {"max_length": 20}, {"exact_match", "f1"}),
    "multiple-choice": ("multiple-choice", None, {}, {"accuracy"}),
    "chat": ("chat", None, {}, {"nats_per_token", "perplexity"}),
    "pairs": ("embeddings", None, {}, RANKING_METRICS),
    "triplets": ("embeddings", TRIPLETS, {}, RANKING_METRICS),
}  # fmt: skip


def test_tasks_are_registered_under_their_names_and_have_rows_and_cases_here():
    assert all(name == objective.task for name, objective in OBJECTIVES.items())
    assert not [f"add rows of {task} to ROWS in tests/training/tiny.py" for task in OBJECTIVES if task not in ROWS]
    cases = {task for task, *_ in CASES.values()}
    # generated text is measured in a test of its own
    missing = [name for name, task in OBJECTIVES.items() if name not in cases and not task.generates_text]
    assert not missing, f"add cases of {missing}, with the names of their results, to CASES"


@pytest.mark.parametrize("task", OBJECTIVES)
def test_the_attributes_of_a_task_fit_together(task):
    objective = OBJECTIVES[task]
    objective.check_complete()
    assert objective.split_column in objective.required_columns
    assert sum(objective.split_fractions) == pytest.approx(1)
    assert hasattr(TaskArguments, objective.length_option.removeprefix("--"))
    assert objective.builtin_dataset in BUILTIN_DATASETS
    assert hasattr(transformers, objective.auto_class)
    for model_class in objective.models.values():
        assert model_class._auto_map[objective.auto_class].rpartition(".")[2] == model_class.__name__


@pytest.mark.parametrize("name", CASES)
def test_results_have_the_expected_names_and_are_finite(name, tmp_path):
    task, rows, options, expected = CASES[name]
    tiny = make_tiny(task, rows, **options)
    results = tiny.measure(tiny.kept(tiny.model()), tmp_path)
    assert set(results) - {"scored_tokens"} == expected
    assert expected <= set(tiny.objective.metric_labels)
    assert all(math.isfinite(value) for value in results.values()), results


@pytest.mark.parametrize("task", LANGUAGE_MODELS)
def test_nats_per_token_are_the_models_own_loss(task, tmp_path):
    """Independent of the batches, because sums and counts are kept."""
    tiny = make_tiny(task)
    model = tiny.model()
    table = tiny.examples["test"]
    batch = tiny.objective.collator(tiny.tokenizer, model, False)([table[row] for row in range(len(table))])
    with torch.no_grad():
        loss = model(**batch).loss.item()
    assert tiny.measure(tiny.kept(model), tmp_path)["nats_per_token"] == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize(("task", "kind"), HEADS)
def test_every_architecture_of_a_task_learns(task, kind):
    tiny = make_tiny(task, kind=kind)
    model = tiny.model(kind)
    assert type(model) is tiny.objective.models[kind]
    assert model.config.pad_token_id == tiny.tokenizer.pad_token_id
    batch = tiny.batch(model, training=True)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(6):
        losses.append(model(**batch).loss)
        losses[-1].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert torch.stack(losses).isfinite().all()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(("task", "kind", "recipe"), RECIPE_HEADS)
def test_every_recipe_of_an_architecture_trains_all_weights(task, kind, recipe):
    tiny = make_tiny(task, kind=kind)
    model = tiny.model(kind, recipe=recipe)
    loss = model(**tiny.batch(model)).loss
    assert torch.isfinite(loss)
    loss.backward()
    # DDP waits for the gradient of every weight, because ddp_find_unused_parameters is False.
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize(("task", "kind"), HEADS)
def test_samples_are_text_and_the_usage_snippet_is_python(task, kind):
    tiny = make_tiny(task, kind=kind)
    objective, tokenizer, model = tiny.objective, tiny.tokenizer, tiny.model(kind)
    for prompts in (None, ["The sky"]):
        inputs = objective.sample_inputs(tiny.data, tokenizer, prompts)
        assert inputs
        state = torch.random.get_rng_state()
        outputs = [objective.predict_sample(model.train(), tokenizer, item) for item in inputs]
        assert model.training
        assert torch.equal(state, torch.random.get_rng_state())
        assert outputs == [objective.predict_sample(model, tokenizer, item) for item in inputs]
        for item, output in zip(inputs, outputs, strict=True):
            assert isinstance(output, str)
            assert isinstance(objective.reference(item), (str, type(None)))
            assert prompts is None or "The sky" in objective.format_input(item)
        source = objective.usage_snippet(checkpoint_arguments('a "folder"', "a revision"), inputs[0])
        calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
        loaders = [call for call in calls if ast.unparse(call.func).endswith(("from_pretrained", "pipeline"))]
        # a tokenizer without trust_remote_code asks for it, and waits
        assert loaders
        for call in loaders:
            options = {option.arg: option.value.value for option in call.keywords}
            assert (options["revision"], options["trust_remote_code"]) == ("a revision", True)


def test_python_literals_are_read_back():
    for value in ({"a": None, "b": [True, 1.5, "x\"\n\u2028\x7f'"]}, "|x|\n# hi <script>", "\ud800"):
        text = python_literal(value)
        assert ast.literal_eval(text) == value
        assert text.isprintable()


@pytest.mark.parametrize("task", sorted(set(OBJECTIVES) - set(LANGUAGE_MODELS)))
def test_test_rows_have_references(task):
    tiny = make_tiny(task)
    inputs = tiny.objective.sample_inputs(tiny.data, tiny.tokenizer, None)
    assert all(tiny.objective.reference(item) for item in inputs)


# Perfect predictions must get the best score, which fails if predictions are not paired with their rows.


def test_correct_answer_spans_get_the_best_score(tmp_path):
    tiny = make_tiny("question-answering", max_length=20)
    table = tiny.examples["test"]
    assert len(table) > len(tiny.data.splits["test"]), "some contexts must take several windows"
    longest = max(map(len, table["input_ids"]))
    scores = np.zeros((len(table), longest, 2))
    for row, (first, last) in enumerate(zip(table["start_positions"], table["end_positions"], strict=True)):
        scores[row, first, 0] = scores[row, last, 1] = 5.0
        # a window without the answer has a lower score than one with it
        scores[row, 0] += 1.0 if first == 0 else 0.0
    results = tiny.measure(EvalPrediction(scores, None), tmp_path)
    assert results["HasAns_exact"] == 100


def test_correct_tags_get_the_best_score_also_in_split_rows(tmp_path):
    rows = [ROWS["token-classification"](i) for i in range(4)]
    rows.append({"tokens": WORDS * 3, "tags": ["O", "B-colour", "I-colour"] * 8})
    tiny = make_tiny("token-classification", rows, max_length=24)
    assert len(tiny.examples["test"]) > len(rows)
    kept = tiny.kept(tiny.model())
    perfect = EvalPrediction(np.where(kept.label_ids == -100, 0, kept.label_ids), kept.label_ids)
    assert tiny.measure(perfect, tmp_path)["f1"] == 1


@pytest.mark.parametrize("rows", [None, SEVERAL, NUMBERS], ids=["classes", "several", "numbers"])
def test_correct_labels_get_the_best_score(rows, tmp_path):
    tiny = make_tiny("sequence-classification", rows)
    labels = np.asarray(tiny.examples["test"]["labels"][:])
    if tiny.objective.labels.kind == "class":
        scores = np.eye(len(tiny.objective.labels.names))[labels]
    else:
        scores = labels[:, None] if labels.ndim == 1 else 2 * labels - 1
    results = tiny.measure(EvalPrediction(scores, labels), tmp_path)
    assert all(value == pytest.approx(0 if name == "rmse" else 1) for name, value in results.items())


def test_generated_targets_get_the_best_score(tmp_path):
    tiny = make_tiny("seq2seq")
    labels = [list(ids) for ids in tiny.examples["test"]["labels"]]
    start, pad = tiny.model().config.decoder_start_token_id, tiny.tokenizer.pad_token_id
    # as from Trainer: with the start token, and padded with pad_token or, between batches, with -100
    width = 2 + max(map(len, labels))
    generated = np.array([[start, *ids, *[pad if row % 2 else -100] * (width - 1 - len(ids))]
                        for row, ids in enumerate(labels)])  # fmt: skip
    results = tiny.measure(EvalPrediction(generated, None), tmp_path)
    assert results == {"exact_match": 1, "chrf": pytest.approx(100), "bleu": pytest.approx(100)}
    with pytest.raises(ValueError, match="unequally many"):
        tiny.measure(EvalPrediction(generated[:-1], None), tmp_path)


def test_noise_is_fixed_in_evaluation_and_changes_in_every_training_epoch():
    for task in ("masked-lm", "denoising"):
        tiny = make_tiny(task, block_size=64, mask_rate=0.3)
        table, model = tiny.examples["train"], tiny.model()
        for training, epochs_differ in ((False, False), (True, True)):
            collator = tiny.objective.collator(tiny.tokenizer, model, training)
            batches = []
            for epoch in (0, 1):
                collator.set_epoch(epoch)
                batches.append(collator([table[row] for row in range(len(table))])["input_ids"])
            equal = batches[0].shape == batches[1].shape and torch.equal(*batches)
            assert equal is not epochs_differ


def test_rows_of_many_short_documents_have_sentinels_for_every_span():
    """Document boundaries split spans, so that a row may need one sentinel for each masked token."""
    rows = [{"text": f"{letter}{letter}"} for letter in "abcdefghijklmnopqrstuvwxyz" * 20]
    tiny = make_tiny("denoising", rows, block_size=64, mask_rate=0.4)
    collator = tiny.objective.collator(tiny.tokenizer, tiny.model(), True)
    for epoch in range(20):
        collator.set_epoch(epoch)
        collator(list(tiny.examples["train"]))


def test_windows_are_padded_on_the_right_even_if_the_tokenizer_pads_on_the_left():
    """Padding on the left would shift the positions of the answers."""
    tiny = make_tiny("question-answering")
    tiny.tokenizer.padding_side = "left"
    batch = tiny.batch(tiny.model(), rows=slice(0, 8))
    assert (batch["attention_mask"][:, 0] == 1).all()
    for ids, first, last in zip(batch["input_ids"], batch["start_positions"], batch["end_positions"], strict=True):
        assert not first or tiny.tokenizer.decode(ids[first : last + 1]).strip() in WORDS


@pytest.mark.parametrize("task", ["sequence-classification", "multiple-choice", "question-answering", "masked-lm"])
def test_token_types_of_a_tokenizer_are_learned(task):
    tiny = make_tiny(task, PAIRS if task == "sequence-classification" else None)
    tiny.tokenizer = train_tokenizer(tiny.data.texts("train"), 300, 48, "pair", with_token_types=True)
    tiny.examples = tiny.objective.examples(tiny.data.splits, tiny.tokenizer, None)
    model = tiny.model()
    assert model.config.type_vocab_size == 2
    batch = tiny.batch(model)
    model(**batch).loss.backward()
    has_gradient = model.model.token_types.embedding.weight.grad.abs().sum(-1) > 0
    assert has_gradient.tolist() == [True, task != "masked-lm"]
    inputs = tiny.objective.sample_inputs(tiny.data, tiny.tokenizer, None)
    assert isinstance(tiny.objective.predict_sample(model, tiny.tokenizer, inputs[0]), str)


def test_both_layouts_of_answers_give_the_same_examples():
    rows = [ROWS["question-answering"](i) for i in range(6)]
    listed = [
        row | {"answers": [{"text": text, "answer_start": start} for text, start in
                           zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)]}
        for row in rows
    ]  # fmt: skip
    first, second = (make_tiny("question-answering", given) for given in (rows, listed))
    assert first.examples["test"][:] == second.examples["test"][:]
    assert first.objective.sample_inputs(second.data, first.tokenizer, None)[0]["answers"]["text"] == []


def refused(task, rows, **options):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        make_tiny(task, rows, **options)
    return str(caught.value)


def test_invalid_rows_are_named():
    question, choice = ROWS["question-answering"], ROWS["multiple-choice"]
    assert "train, row 2 has no target" in refused("seq2seq", [ROWS["seq2seq"](0), {"source": "x", "target": " "}])
    assert "train, row 2 has the label '3'" in refused("multiple-choice", [choice(0), choice(1) | {"label": 3}])
    rows = [choice(0), choice(1) | {"choices": ["a", "b"]}]
    assert "train, row 2 has 2 choices, and most training rows 3" in refused("multiple-choice", rows)
    assert "train, row 1 has 1 tokens" in refused("token-classification", [{"tokens": ["a"], "tags": ["O", "O"]}])
    assert "one tag" in refused("token-classification", [{"tokens": ["a"], "tags": ["O"]}])
    assert "should stand" in refused(
        "question-answering", [question(1) | {"answers": {"text": ["sky"], "answer_start": [0]}}]
    )
    assert "validation, row 2 has the id q1, as has validation, row 1" in refused(
        "question-answering", [question(1), question(1)]
    )
    unanswered = [{"messages": [{"role": "user", "content": "x"}]}]
    assert "train, row 1 has no message of the assistant" in refused("chat", unanswered)
    messages = [{"role": "user", "content": "long " * 60}, {"role": "assistant", "content": "x"}]
    assert "--max_length" in refused("chat", [{"messages": messages}], long_texts="truncate")


@pytest.mark.parametrize(("task", "size"), [("causal-lm", 1), ("masked-lm", 2), ("denoising", 3)])
def test_too_short_rows_are_refused(task, size):
    assert f"--block_size {size}" in refused(task, None, block_size=size)


def test_tiny_models_are_tiny():
    assert make_tiny("causal-lm").model().num_parameters() < 10_000 * SIZES["num_hidden_layers"]


def test_additional_metrics_are_added_to_those_of_the_task(tmp_path):
    tiny = make_tiny("sequence-classification", PAIRS, metrics=["precision"])
    assert {"accuracy", "precision"} <= set(tiny.measure(tiny.kept(tiny.model()), tmp_path))
    assert "precision" in tiny.objective.metric_labels
    assert "precision" not in type(tiny.objective).metric_labels


def test_additional_metrics_need_predictions():
    with pytest.raises(ValueError, match="--metrics"):
        make_tiny("causal-lm", metrics=["accuracy"])
