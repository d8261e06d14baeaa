"""A new task is one class and its entry in OBJECTIVES: train.py runs a task that is defined here, and a message names
what a task has forgotten."""

import json
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, DataCollatorWithPadding

import train
from hf_tfm.modeling.modeling_tfm_encoder import TfmEncoderForSequenceClassification
from hf_tfm.training.arguments.task_arguments import TaskArguments
from hf_tfm.training.cli.parser import parse_arguments
from hf_tfm.training.loop import training_length
from hf_tfm.training.objectives import OBJECTIVES, Objective
from hf_tfm.training.objectives.base import REQUIRED_ATTRIBUTES, REQUIRED_METHODS, forward_in_eval_mode

pytestmark = pytest.mark.xdist_group("train")


class WordCount(Objective):
    """Predict the number of words in a text, by regression."""

    task = "word-count"
    pipeline_tag = "text-classification"
    auto_class = "AutoModelForSequenceClassification"
    models = {"tfm_encoder": TfmEncoderForSequenceClassification}
    metric_labels = {"mae": "mean absolute error in words", "loss": "squared error (the loss)"}
    default_arguments = {"max_length": 32, "vocab_size": 300, "max_steps": 4, "eval_steps": 2}
    default_config_fields = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "pooling": "mean"}
    supports_label_smoothing = False
    peft_task_type = "SEQ_CLS"

    def config_fields(self, tokenizer):
        return {"num_labels": 1, "problem_type": "regression"}

    def examples(self, splits, tokenizer, num_proc):
        def encode(batch):
            ids = tokenizer(batch["text"], truncation=True, max_length=self.args.max_length)
            return {**ids, "labels": [float(len(text.split())) for text in batch["text"]]}

        return {name: table.map(encode, batched=True, remove_columns=["text"]) for name, table in splits.items()}

    def collator(self, tokenizer, model, training):
        return DataCollatorWithPadding(tokenizer)

    def make_compute_metrics(self, split, features, tokenizer, cache_dir, source_bytes):
        return lambda prediction: {"mae": float(np.abs(prediction.predictions[:, 0] - prediction.label_ids).mean())}

    def baselines(self, data, examples, tokenizer):
        count = Counter(len(text.split()) for text in data.texts("train")).most_common(1)[0][0]
        return {"most frequent count": float(np.mean([abs(len(t.split()) - count) for t in data.texts("test")]))}

    def sample_inputs(self, data, tokenizer, prompts):
        return prompts or ["one two three"]

    def format_input(self, sample_input):
        return sample_input

    def predict_sample(self, model, tokenizer, sample_input):
        return f"{forward_in_eval_mode(model, dict(tokenizer(sample_input, return_tensors='pt'))).logits.item():.1f}"

    def usage_snippet(self, home, sample_input):
        return f'from transformers import pipeline\nprint(pipeline("text-classification", model="{home}"))'


@pytest.fixture
def word_count(monkeypatch):
    monkeypatch.setitem(OBJECTIVES, WordCount.task, WordCount)


@pytest.fixture
def rows(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text(
        "".join(json.dumps({"text": f"row {i}" + " word" * (i % 9)}) + "\n" for i in range(90)) + "no row\n"
    )
    return file


def test_train_py_runs_a_registered_task(word_count, rows, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "out"
    options = ["--task", "word-count", "--train_file", str(rows), "--output_dir", str(folder), "--use_cpu"]
    options += ["--bad_rows", "drop"]
    monkeypatch.setattr(training_length, "PASSES", 1)
    monkeypatch.setattr(training_length, "LEAST_STEPS", 4)
    monkeypatch.setattr(sys, "argv", ["train.py", *options, "--disable_tqdm", "true"])
    state = torch.get_rng_state()
    train.main()
    torch.set_rng_state(state)

    results = json.loads((folder / "all_results.json").read_text())
    assert {"test_mae", "eval_mae", "test_loss"} <= results.keys()
    chosen = json.loads((folder / "run.json").read_text())["options"]
    assert (chosen["task"], chosen["max_length"]) == ("word-count", 32)
    assert AutoModelForSequenceClassification.from_pretrained(folder).config.hidden_size == 16
    card = (folder / "README.md").read_text()
    assert "mean absolute error in words" in card
    assert "most frequent count" in card
    assert "1 rows that could not be used were dropped; \\_dropped_rows.jsonl says why" in card
    assert "rows.jsonl, line 91" in json.loads((folder / "_dropped_rows.jsonl").read_text())["location"]
    assert "these are the weights of step" in card
    said = capsys.readouterr().out
    assert "mean absolute error in words" in said
    # the default steps of the task are for its built-in data
    assert "Length: 5 steps; 1.0 passes over the rows; stops after 5 evaluations without improvement" in said
    assert "Trained 5 of at most 5 steps (1.0 epochs) and took the weights of step" in said


def test_help_and_errors_list_a_registered_task(word_count, capsys):
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    assert "word-count text hidden_size=16" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit):
        parse_arguments(["--task", "words"])
    assert "known tasks: causal-lm" in (message := capsys.readouterr().err)
    assert "word-count" in message


def test_other_options_replace_the_defaults_of_a_registered_task(word_count):
    assert parse_arguments(["--task", "word-count", "--use_cpu"]).training.max_steps == 4
    assert parse_arguments(["--task", "word-count", "--use_cpu", "--max_steps", "7"]).training.max_steps == 7
    assert parse_arguments(["--task", "word-count", "--use_cpu", "--num_train_epochs", "2"]).training.max_steps == -1


def without(*names):
    members = {
        name: value for name, value in vars(WordCount).items() if name not in (*names, "__dict__", "__weakref__")
    }
    return type("Unfinished", (Objective,), members)


@pytest.mark.parametrize("name", [*REQUIRED_ATTRIBUTES, *REQUIRED_METHODS])
def test_the_message_names_what_a_task_forgot(name):
    with pytest.raises(TypeError, match=rf"The task Unfinished does not define {name}(\(\))?; add"):
        without(name)(TaskArguments())


def test_one_message_names_everything_that_a_task_forgot():
    with pytest.raises(TypeError, match=r"Unfinished does not define auto_class, models, metric_labels, collator\(\);"):
        without("auto_class", "models", "metric_labels", "collator")(TaskArguments())


def test_a_default_for_an_unknown_option_is_named(word_count, monkeypatch):
    monkeypatch.setattr(WordCount, "default_arguments", {"max_lenght": 32, "hidden_size": 8})
    with pytest.raises(TypeError, match=r"WordCount\.default_arguments has max_lenght, hidden_size"):
        parse_arguments(["--task", "word-count"])
