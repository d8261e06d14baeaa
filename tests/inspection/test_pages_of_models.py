"""Pages of real models, with every kind of head: nothing complains, and the numbers are those of the report."""

import numpy as np
import pytest

import hf_tfm
from hf_tfm.inspection import make_report
from hf_tfm.inspection.page import write_page
from tests.grid import make

from .browser import IN_BROWSER, open_page, requests, settle
from .tiny import OTHER_TEXT, TEXT, make_tokenizer

pytestmark = IN_BROWSER
QUICK = {"knockout": "top:1", "gradient_steps": 4}
SMALL = {"num_hidden_layers": 2}
# name -> (architecture, head, fields, options of make_report)
CASES = {
    "language model": ("decoder", "TfmDecoderForCausalLM", {"position_type": "alibi"}, {"against": OTHER_TEXT}),
    "some layers": ("decoder", "TfmDecoderForCausalLM", {"attention_sinks": True}, {"layers": [1]}),
    "masked": ("encoder", "TfmEncoderForMaskedLM", {"residual_type": "post"}, {"text": "the [MASK] was tired"}),
    "every token": ("encoder", "TfmEncoderForMaskedLM", {"position_type": "learned"}, {}),
    "class": ("encoder", "TfmEncoderForSequenceClassification", {"num_labels": 3}, {}),
    "number": ("encoder", "TfmEncoderForSequenceClassification", {"num_labels": 1, "problem_type": "regression"}, {}),
    "classes of tokens": ("encoder", "TfmEncoderForTokenClassification", {"num_labels": 3}, {}),
    "answer": ("encoder", "TfmEncoderForQuestionAnswering", {}, {"text": ("the animal", "the street was red")}),
    "no head": ("decoder", "TfmDecoderModel", {}, {}),
    "output text": ("seq2seq", "TfmSeq2SeqForConditionalGeneration", {}, {"target": "it was tired"}),
    "own output": ("seq2seq", "TfmSeq2SeqForConditionalGeneration", {"position_type": "relative_bias"}, {}),
}


def report_of(name):
    architecture, head, fields, options = CASES[name]
    model = make(architecture, getattr(hf_tfm, head), **SMALL, **fields)
    text = options.get("text", TEXT)
    rest = {key: value for key, value in options.items() if key != "text"}
    return make_report(model, make_tokenizer(with_eos=True), text, **QUICK, **rest)


@pytest.mark.parametrize("name", CASES)
def test_a_page_of_a_model_opens_and_holds_its_numbers(name, browser, tmp_path):
    report = report_of(name)
    write_page(report, tmp_path / "page.html")
    open_page(browser, tmp_path / "page.html")
    assert requests(browser) == [(tmp_path / "page.html").as_uri()]
    for layer in range(report.attention[0].weights.shape[0]):
        for head in range(report.attention[0].weights.shape[1]):
            browser.execute_script("window.hfTfm.select({layer: arguments[0], head: arguments[1]})", layer, head)
            settle(browser)
    assert browser.get_log("browser") == []
    for index, maps in enumerate(report.attention):
        read = "const [index, done] = arguments; window.hfTfm.get(index, 0, 0, 0).then(done);"
        row = browser.execute_async_script(read, index)
        assert np.abs(np.array(row["weights"]) - maps.weights[0, 0, 0]).max() <= row["error"] * 1.001 + 1e-9
    text = browser.execute_script(
        "return document.querySelector('header').textContent + document.querySelector('main').textContent"
    )
    assert "undefined" not in text
    assert "NaN" not in text
    assert "[object" not in text
