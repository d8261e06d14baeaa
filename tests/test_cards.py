"""Model cards: valid front matter, every number of the run, no sections without content."""

import math
from itertools import pairwise

import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

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
METRICS = {
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
    values = {
        "name": "tiny",
        "config": TfmDecoderConfig.recipe("llama", hidden_size=32, num_attention_heads=2),
        "parameters": 12345,
        "pipeline_tag": "text-generation",
        "results": RESULTS,
        "metrics": METRICS,
        "data": DATA,
        "run": RUN,
        "samples": [Sample("Return", "Return \x00 ```x```", "Return the value.")],
        "usage": "print(1)",
    }
    return model_card(**{**values, **changes})


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
    "text",
    [
        "12,345 parameters", "| bits per byte of text | 1.654 | 1.700 |", "xz 1.69", "0123456789abcdef",
        "900 rows, 123,456 bytes", "python train.py --seed 7", "precision: float32", "Python 3.", "torch 2",
        "hidden_size: 32", "![Training](training.png)", "Return the value.", "Nothing special.",
    ],
)  # fmt: skip
def test_card_contains_what_the_run_measured(text):
    assert text in make_card()


def test_default_and_bookkeeping_fields_are_not_listed():
    assert "attention_dropout" not in make_card()
    assert "auto_map" not in make_card()


def test_backticks_and_control_characters_stay_inside_the_code_block():
    card = make_card()
    assert "````\nReturn \ufffd ```x```\n````" in card


def test_sections_without_content_are_left_out():
    card = make_card(samples=[], results={}, data=DataFacts("text", "f", {"train": (1, 2)}))
    assert "## Examples" not in card
    assert "## Results" not in card
    assert "model-index" not in card


def test_hub_dataset_is_linked():
    data = ModelCard(make_card(data=DataFacts("x", "f", {}, hub_name="owner/texts"))).data
    assert data.datasets in ("owner/texts", ["owner/texts"])


def test_licence_and_base_model_are_named():
    run = RunFacts("x", {}, base_model="owner/base", is_adapter=True, license="mit")
    data = ModelCard(make_card(run=run)).data
    assert (data.license, data.base_model, data.library_name) == ("mit", "owner/base", "peft")
    assert (data.base_model_relation, data.tags) == ("adapter", ["hf_tfm"])
    plain = ModelCard(make_card()).data.to_dict()
    assert not {"license", "base_model", "base_model_relation"} & {*plain}


def test_card_names_the_origin_of_the_weights():
    assert "trained from scratch on files" in make_card()
    assert "trained further from a/b on files" in make_card(run=RunFacts("x", {}, origin="trained further from a/b"))


def test_reference_is_shown_if_there_is_one():
    with_reference = make_card(samples=[Sample("in", "before", "after", "right")])
    assert "Reference:\n\n```\nright\n```" in with_reference
    assert "Reference:" not in make_card(samples=[Sample("in", "before", "after", None)])


def test_only_metrics_with_results_are_shown_in_the_given_order():
    results = {"test_f1": 0.5, "test_accuracy": 0.25, "test_loss": 1.0, "eval_f1": 0.75, "test_runtime": 3.0}
    metrics = {"accuracy": "share of correct classes", "f1": "F1", "loss": "loss", "rmse": "error"}
    card = make_card(results=results, metrics=metrics, data=DataFacts("x", "f", {}))
    assert "| F1 | 0.500 | 0.750 |" in card
    assert "rmse" not in card
    assert "runtime" not in card
    assert [result.metric_type for result in ModelCard(card).data.eval_results] == ["accuracy", "f1", "loss"]


def test_notes_are_listed():
    assert "- BLEU: sacrebleu nrefs:1" in make_card(notes={"BLEU": "sacrebleu nrefs:1"})


HOSTILE = [
    "|x|\n# hi <script>alert(1)</script>", "`code` ``` ```` ~~~", "[a](http://b) ![c](d) [e][f]", "*a* _b_ __c__ ~~d~~",
    "&lt;b&gt; $$x$$", "- a\n- b", "\n---\nlicense: mit\n---\n", "a: b # c", "'\"\\\t\r\x00\u2028\x85", "1. a",
    "> a", "{{ x }} {% y %}",
]  # fmt: skip


def shown(text):
    """A text as a page shows it in one line: without control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_the_data_is_shown_as_it_is(text):
    """Nothing becomes a heading, a link, a list, a table, HTML or other front matter."""
    names = {0: text, 1: "fine"}
    card = make_card(
        name=text,
        config=TfmDecoderConfig(id2label=names, hidden_size=32, num_attention_heads=2),
        data=DataFacts(text, "f", {"train": (1, 2)}, baselines={text: 1.0}),
        run=RunFacts("x", {"setting": text}, origin=f"trained further from {text}"),
        samples=[Sample(text, text, text, text)],
        metrics={"bits_per_byte": text},
        notes={text: text},
    )
    assert ModelCard(card).data.model_name == text
    assert ModelCard(card).data.eval_results[0].dataset_name == text
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(ModelCard(card).text)
    inline = [token for token in tokens if token.type == "inline"]
    headings = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    plain = "Use Results Examples Data Training Reproduce Configuration Limitations".split()
    assert headings[1:] == plain
    assert "".join(child.content for child in inline[0].children) == shown(text)
    kinds = {child.type for token in inline for child in token.children} - {"code_inline"}
    assert kinds <= {"text", "text_special", "softbreak"}, kinds
    assert {token.type for token in tokens} & {"html_block", "hr", "blockquote_open", "ordered_list_open"} == set()
    rows = [token for token in tokens if token.type == "tr_open"]
    cells = [token for token in tokens if token.type in ("td_open", "th_open")]
    assert (len(rows), len(cells)) == (2, 6)
    texts = ["".join(child.content for child in token.children) for token in inline]
    assert f"{shown(text)}: {shown(text)}" in texts
    assert f"id2label: {shown(str(names))}" in texts
    fences = [token for token in tokens if token.type == "fence"]
    assert len(fences) == 2 + 4
