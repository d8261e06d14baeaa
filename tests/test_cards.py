"""Model cards: valid front matter, every number from the run, sections only where there are facts."""

import math

import pytest
import yaml
from huggingface_hub import ModelCard

from hf_tfm import TfmDecoderConfig
from hf_tfm.cards import DataFacts, RunFacts, Sample, model_card

RESULTS = {
    "test_bits_per_byte": 1.6543,
    "test_nats_per_token": 4.2,
    "test_perplexity": math.exp(4.2),
    "eval_bits_per_byte": 1.7,
    "eval_nats_per_token": 4.3,
    "eval_perplexity": math.exp(4.3),
    "train_runtime": 12.0,
}
MEASURES = {
    "bits_per_byte": "bits per byte of text",
    "nats_per_token": "nats per token (the loss)",
    "perplexity": "perplexity per token",
}
DATA = DataFacts(
    description="files: a.txt & 'b'.txt",
    fingerprint="0123456789abcdef",
    sizes={"train": (900, 123456), "test": (50, 6789)},
    baselines={"xz": 1.69},
    notes="Nothing special.",
)
RUN = RunFacts(
    command="python train.py --seed 7", settings={"steps": "400", "precision": "float32"}, picture="training.png"
)


def make_card(**changes):
    facts = {
        "name": "tiny",
        "config": TfmDecoderConfig.recipe("llama", hidden_size=32, num_attention_heads=2),
        "parameters": 12345,
        "pipeline_tag": "text-generation",
        "results": RESULTS,
        "measures": MEASURES,
        "data": DATA,
        "run": RUN,
        "samples": [Sample("Return", "Return \x00 ```x```", "Return the value.")],
        "usage": "print(1)",
    }
    return model_card(**{**facts, **changes})


def test_front_matter_is_read_by_the_hub():
    data = ModelCard(make_card()).data
    assert (data.pipeline_tag, data.library_name, data.model_name) == ("text-generation", "transformers", "tiny")
    measured = {result.metric_type: result.metric_value for result in data.eval_results}
    assert measured == {
        "bits_per_byte": 1.6543,
        "nats_per_token": 4.2,
        "perplexity": pytest.approx(math.exp(4.2), abs=1e-4),
    }
    assert all(result.dataset_name == DATA.description for result in data.eval_results)


def test_front_matter_is_plain_yaml():
    block = make_card().split("---\n")[1]
    assert yaml.safe_load(block)["model-index"][0]["name"] == "tiny"


@pytest.mark.parametrize(
    "fact",
    [
        "12,345 parameters", "| bits per byte of text | 1.654 | 1.700 |", "xz 1.69", "0123456789abcdef",
        "900 rows, 123,456 bytes", "python train.py --seed 7", "precision: float32", "Python 3.", "torch 2",
        "hidden_size: 32", "![Training](training.png)", "Return the value.", "Nothing special.",
    ],
)  # fmt: skip
def test_facts_of_the_run_are_told(fact):
    assert fact in make_card()


def test_defaults_of_the_configuration_are_not_repeated():
    assert "attention_dropout" not in make_card()
    assert "auto_map" not in make_card()


def test_odd_samples_stay_inside_their_block():
    card = make_card()
    assert "````\nReturn \ufffd ```x```\n````" in card


def test_sections_without_facts_are_left_out():
    card = make_card(samples=[], results={}, data=DataFacts("text", "f", {"train": (1, 2)}))
    assert "## What it does" not in card
    assert "## Results" not in card
    assert "model-index" not in card


def test_hub_data_set_is_linked():
    data = ModelCard(make_card(data=DataFacts("x", "f", {}, hub_name="owner/texts"))).data
    assert data.datasets in ("owner/texts", ["owner/texts"])


def test_a_card_says_where_the_weights_began():
    assert "trained from scratch on files" in make_card()
    assert "trained further from a/b on files" in make_card(run=RunFacts("x", {}, origin="trained further from a/b"))


def test_right_answers_are_told_where_there_are_any():
    told, untold = (make_card(samples=[Sample("in", "before", "after", wanted)]) for wanted in ("right", None))
    assert "Right:\n\n```\nright\n```" in told
    assert "Right:" not in untold


def test_only_measured_results_are_shown_in_the_order_of_the_task():
    results = {"test_f1": 0.5, "test_accuracy": 0.25, "test_loss": 1.0, "eval_f1": 0.75, "test_runtime": 3.0}
    measures = {"accuracy": "share of right classes", "f1": "F1", "loss": "loss", "rmse": "error"}
    card = make_card(results=results, measures=measures, data=DataFacts("x", "f", {}))
    assert "| F1 | 0.500 | 0.750 |" in card
    assert "rmse" not in card
    assert "runtime" not in card
    assert [result.metric_type for result in ModelCard(card).data.eval_results] == ["accuracy", "f1", "loss"]


def test_notes_say_how_something_was_measured():
    assert "- BLEU: sacrebleu nrefs:1" in make_card(notes={"BLEU": "sacrebleu nrefs:1"})
