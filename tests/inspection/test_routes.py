"""From a checkpoint and a text to a report: native twins, every head, and what is refused."""

import dataclasses
import math

import numpy as np
import pytest
import torch

import hf_tfm
from hf_tfm.cli import main
from hf_tfm.inspection import inspect_command
from hf_tfm.inspection.inspect_model import OF_PREDICTION, make_report
from hf_tfm.inspection.loading import display_name, load_for_inspection
from tests.conversion.families.cases import CASES
from tests.conversion.tiny import VOCAB_SIZE, tiny_native
from tests.grid import LANGUAGE_MODELS, make
from tests.inspection.test_recording import fingerprint
from tests.inspection.tiny import OTHER_TEXT, TEXT, make_tokenizer

QUICK = {"knockout": "top:1", "gradient_steps": 4}
TWINS = {"gpt2": "causal-lm", "llama": "causal-lm", "gemma2": "causal-lm", "bert": "masked-lm", "t5": "seq2seq-lm"}


@pytest.mark.parametrize("family", TWINS)
def test_a_native_twin_says_the_same_and_looks_at_the_same(family, tmp_path):
    native = tiny_native(family, CASES[family][0], TWINS[family])
    tokenizer = make_tokenizer(vocab_size=VOCAB_SIZE)
    native.save_pretrained(tmp_path / family)
    tokenizer.save_pretrained(tmp_path / family)
    target = {"target": "it was tired"} if family == "t5" else {}
    report = make_report(str(tmp_path / family), text=TEXT, knockout="none", gradient_steps=0, **target)
    assert report.model == family
    inputs = {"input_ids": torch.tensor([report.sequences[0].ids])}
    if target:
        inputs["decoder_input_ids"] = torch.tensor([report.sequences[1].ids])
    with torch.no_grad():
        output = native(**inputs, output_attentions=True)
    logits = output.logits[0]
    best = logits.topk(10)
    np.testing.assert_allclose(report.prediction.logits, best.values, rtol=1e-4, atol=1e-4)
    assert report.prediction.labels == [tokenizer.convert_ids_to_tokens(row) for row in best.indices.tolist()]
    np.testing.assert_allclose(report.lens.probabilities[-1], logits.softmax(-1).topk(10).values, rtol=1e-3)
    assert report.lens.gap == 0.0
    names = ("encoder_attentions", "decoder_attentions", "cross_attentions") if target else ("attentions",)
    assert len(report.attention) == len(names)
    for maps, name in zip(report.attention, names, strict=True):
        np.testing.assert_allclose(maps.weights, torch.stack(output[name])[:, 0], atol=2e-6)


def test_the_same_report_twice():
    model, tokenizer = make("decoder"), make_tokenizer()
    reports = [dataclasses.asdict(make_report(model, tokenizer, TEXT, against=OTHER_TEXT, **QUICK)) for _ in range(2)]
    assert str(reports[0]) == str(reports[1])


HEADS = [name for name in hf_tfm.__all__ if "For" in name or name.endswith("Model")]


@pytest.mark.parametrize("name", HEADS)
def test_every_head_has_a_report(name):
    architecture = next(key for key in ("seq2seq", "encoder", "decoder") if key in name.lower())
    model = make(architecture, getattr(hf_tfm, name), num_hidden_layers=2, num_labels=2).train()
    before = fingerprint(model)
    target = "it was tired" if name in ("TfmSeq2SeqModel", "TfmSeq2SeqForConditionalGeneration") else None
    report = make_report(model, make_tokenizer(with_eos=True), TEXT, target, **QUICK)
    assert fingerprint(model) == before
    assert report.head == name
    assert (
        len(report.sequences)
        == len(report.streams)
        == len(report.positions)
        == 1 + (architecture == "seq2seq" and "Encoder" not in name)
    )
    for sequence in report.sequences:
        assert len(sequence.tokens) == len(sequence.ids)
    for maps in report.attention:
        lengths = {sequence.name: len(sequence.ids) for sequence in report.sequences}
        assert maps.weights.shape == (2, 4, lengths[maps.queries], lengths[maps.keys])
        assert maps.value_norms.shape == (2, 4, lengths[maps.keys])
        np.testing.assert_allclose(maps.weights.sum(-1) + maps.missing, 1, atol=1e-5)
    assert report.costs[-1].name == "total"
    is_headless = name.endswith("Model") or "Embedding" in name or "MultipleChoice" in name
    if is_headless:
        assert set(OF_PREDICTION) <= report.absent.keys()
        assert report.prediction is None
        return
    assert report.attributions[0].gap <= 1e-4 * max(1, abs(report.attributions[0].logit))
    assert report.prediction.labels[0]
    assert report.knock_outs
    assert len(report.lens.taps) == len(report.lens.labels) == len(report.streams[-1].taps)
    assert len(report.lens.labels[0]) == len(report.prediction.positions)


def test_what_is_explained():
    tokenizer = make_tokenizer()
    model = make("encoder")
    masked = make_report(model, tokenizer, TEXT.replace("street", "[MASK]"), "mat", **QUICK)
    assert masked.prediction.question == "Which word stands at the mask?"
    assert masked.prediction.positions == [6]
    assert (masked.attributions[0].position, masked.attributions[0].label) == (6, "mat")
    plain = make_report(model, tokenizer, TEXT, position=-1, **QUICK)
    assert plain.prediction.actual == TEXT.split()
    assert plain.attributions[0].position == 11
    decoder = make_report(make("decoder"), tokenizer, TEXT, position=3, layers=[1], **QUICK)
    assert decoder.prediction.actual == [*TEXT.split()[1:], None]
    assert decoder.attributions[0].position == decoder.knock_outs[0].position == decoder.inputs[0].position == 3
    assert [maps.layers for maps in decoder.attention] == [[1]]


def test_an_encoder_decoder_generates_and_is_read_once_over_both():
    model = make("seq2seq", num_hidden_layers=1)
    report = make_report(model, make_tokenizer(), TEXT, **QUICK)
    source, target = report.sequences
    assert (source.name, target.name, target.generated) == ("source", "target", 1)
    assert report.prediction.actual == [row[0] for row in report.prediction.labels], "greedy generation"
    assert target.tokens[1:] == report.prediction.actual[:-1]
    given = make_report(model, make_tokenizer(), TEXT, "it was red", **QUICK)
    assert given.sequences[1].tokens == ["[BOS]", "it", "was"]
    assert given.prediction.actual == ["it", "was", "red"]
    assert given.sequences[1].generated is None


def test_several_classes_at_once_and_numbers():
    head = hf_tfm.TfmEncoderForSequenceClassification
    classes = make("encoder", head, num_labels=3, problem_type="multi_label_classification", num_hidden_layers=1)
    report = make_report(classes, make_tokenizer(), TEXT, "LABEL_2", **QUICK)
    assert report.lens is None
    assert "no distribution" in report.absent["lens"]
    np.testing.assert_allclose(report.prediction.probabilities, 1 / (1 + np.exp(-report.prediction.logits)), rtol=1e-5)
    assert report.attributions[0].label == "LABEL_2"
    number = make("encoder", head, num_labels=1, problem_type="regression", num_hidden_layers=1)
    report = make_report(number, make_tokenizer(), TEXT, **QUICK)
    assert np.isnan(report.prediction.probabilities).all()


def test_patching_between_texts():
    report = make_report(make("encoder"), make_tokenizer(), TEXT, position=1, against=OTHER_TEXT, **QUICK)
    assert report.patching.other == OTHER_TEXT
    assert report.patching.recovered.shape == (7, 12)
    # the texts differ in one token, so its vector brings all over
    assert report.patching.recovered[0, 1] == pytest.approx(1, abs=1e-4)
    assert abs(np.delete(report.patching.recovered[0], 1)).max() < 1e-4


def test_bfloat16_is_reported_as_such():
    report = make_report(make("decoder").bfloat16(), make_tokenizer(), TEXT, **QUICK)
    assert report.dtype == "bfloat16"
    assert report.attention[0].weights.dtype == np.float32
    assert math.isfinite(report.attributions[0].gap)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": ""}, "The text holds no token"),
        ({"text": "mat " * 600}, "has 600 tokens, more than 512: give max_tokens=512 .* or max_tokens=600"),
        ({"position": 12}, "position=12 must lie between 0 and 11"),
        ({"knockout": "most"}, 'knockout="most" must be "all"'),
        ({"against": "the mat"}, "against has 2 tokens, the text 12"),
        ({"layers": [9]}, r"layers=\[9\] must lie between 0 and 2"),
        ({"target": ""}, "target='' holds no token"),
        ({"tokenizer": None}, "TfmDecoderForCausalLM has no tokenizer"),
    ],
)
def test_what_cannot_be_inspected_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        make_report(make("decoder"), **{"tokenizer": make_tokenizer(), "text": TEXT, **QUICK, **given})


def test_other_heads_refuse_what_they_do_not_have():
    model = make("encoder", hf_tfm.TfmEncoderForSequenceClassification, num_hidden_layers=1)
    with pytest.raises(ValueError, match="one answer for the whole text; leave position out"):
        make_report(model, make_tokenizer(), TEXT, position=1, **QUICK)
    with pytest.raises(ValueError, match="target='mat' must be one of: LABEL_0, LABEL_1"):
        make_report(model, make_tokenizer(), TEXT, "mat", **QUICK)
    with pytest.raises(ValueError, match="writes no target; give one with target"):
        make_report(make("seq2seq", hf_tfm.TfmSeq2SeqModel), make_tokenizer(), TEXT, **QUICK)


def test_long_texts_are_cut_where_a_limit_is_given():
    report = make_report(make("decoder", num_hidden_layers=1), make_tokenizer(), "mat " * 600, max_tokens=8, **QUICK)
    assert len(report.sequences[0].ids) == 8
    assert any("600 tokens, of which the first 8" in warning for warning in report.warnings)


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_our_checkpoints_open_as_the_class_that_wrote_them(architecture, tmp_path):
    heads = [LANGUAGE_MODELS[architecture][1]]
    if architecture != "seq2seq":
        heads.append(getattr(hf_tfm, f"Tfm{architecture.title()}ForTextEmbedding"))
    for head in heads:
        folder = tmp_path / head.__name__
        make(architecture, head, num_hidden_layers=1).save_pretrained(folder)
        make_tokenizer().save_pretrained(folder)
        loaded = load_for_inspection(str(folder), torch.float64)
        assert type(loaded.model) is head
        assert loaded.model.dtype == torch.float64
        assert loaded.tokenizer("mat")["input_ids"] == make_tokenizer()("mat")["input_ids"]
        assert display_name(str(folder)) == head.__name__, "no other part of the path is shown"


def test_the_command(tmp_path, monkeypatch, capsys):
    make("decoder", num_hidden_layers=2).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    written = []
    monkeypatch.setattr(inspect_command, "write_files", lambda report, args: written.append(report) or [args.output])
    options = ["--knockout", "none", "--gradient_steps", "0", "--position", "2", "--layers", "2", "-o", "page.html"]
    main(["inspect", str(tmp_path), TEXT, *options])
    assert "Written: page.html" in capsys.readouterr().out
    assert written[0].attributions[0].position == 1
    assert written[0].attention[0].layers == [1]
    assert written[0].model == tmp_path.name
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).unlink()
    with pytest.raises(SystemExit):
        main(["inspect", str(tmp_path), TEXT])
    assert f"inspect: error: {tmp_path.name} has no tokenizer" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["inspect", str(tmp_path), TEXT, "--layers", "0"])
    assert 'inspect: error: --layers "0" must be a list of layers from 1' in capsys.readouterr().err


def test_learned_positions_end_somewhere():
    model = make("decoder", position_type="learned", num_hidden_layers=1)
    with pytest.raises(ValueError, match="The text has 70 tokens, and the model has 64 positions: give max_tokens=64"):
        make_report(model, make_tokenizer(), "mat " * 70, **QUICK)


def test_another_dtype_is_a_copy():
    model = make("decoder", num_hidden_layers=1)
    before = fingerprint(model)
    assert make_report(model, make_tokenizer(), TEXT, dtype=torch.float64, **QUICK).dtype == "float64"
    assert fingerprint(model) == before
    with pytest.raises(ValueError, match="takes a model of transformers, a folder or a Hub name; got a Linear"):
        make_report(torch.nn.Linear(1, 1), make_tokenizer(), TEXT)
