"""Losses: for every head, accumulated micro-batches equal the large batch; the load-balancing loss of experts."""

import pytest
import torch
from torch.nn import functional as F
from transformers import Trainer, TrainingArguments

import hf_tfm
from hf_tfm.modeling.loss import classification_loss, multi_label_loss, regression_loss, single_label_loss
from tests.grid import SIZES, assert_same, ids, make
from tests.modeling.remote_code.checkpoints import HEADS, head_inputs, make_head

ROWS, LENGTH = 6, 7


def keep_first(labels, keep):
    """The first `keep[i]` labels of row i, and -100 after them."""
    labels = labels.clone()
    for row, kept in enumerate(keep):
        labels[row, kept:] = -100
    return labels


LABELS_PER_ROW = [7, 2, 5, 1, 4, 3]
CASES = {
    "causal_lm": ("decoder", hf_tfm.TfmDecoderForCausalLM, {}, lambda x: keep_first(x, LABELS_PER_ROW)),
    "masked_lm": ("encoder", hf_tfm.TfmEncoderForMaskedLM, {}, lambda x: keep_first(x, LABELS_PER_ROW)),
    "seq2seq_lm": ("seq2seq", hf_tfm.TfmSeq2SeqForConditionalGeneration, {}, lambda x: keep_first(x, LABELS_PER_ROW)),
}
for _architecture, _prefix in (("encoder", "TfmEncoder"), ("decoder", "TfmDecoder"), ("seq2seq", "TfmSeq2Seq")):
    _head = getattr(hf_tfm, f"{_prefix}ForSequenceClassification")
    CASES |= {
        f"{_architecture}_single_label": (_architecture, _head, {"num_labels": 3}, lambda x: x[:, 0] % 3),
        f"{_architecture}_regression": (_architecture, _head, {"num_labels": 1}, lambda x: x[:, 0] / 50),
        f"{_architecture}_regressions": (
            _architecture,
            _head,
            {"num_labels": 2, "problem_type": "regression"},
            lambda x: x[:, :2] / 50,
        ),
        f"{_architecture}_multi_label": (_architecture, _head, {"num_labels": 3}, lambda x: (x[:, :3] % 2).float()),
    }
    if _architecture != "seq2seq":
        _head = getattr(hf_tfm, f"{_prefix}ForTokenClassification")
        CASES[f"{_architecture}_tokens"] = (
            _architecture,
            _head,
            {"num_labels": 3},
            lambda x: keep_first(x % 3, LABELS_PER_ROW),
        )
CASES["multiple_choice"] = ("encoder", hf_tfm.TfmEncoderForMultipleChoice, {}, lambda x: x[:, 0, 0] % 2)


def model_and_batch(case):
    architecture, head, fields, label = CASES[case]
    inputs = ids(ROWS, 2, LENGTH) if case == "multiple_choice" else ids(ROWS, LENGTH)
    return make(architecture, head, **fields), {"input_ids": inputs, "labels": label(inputs)}


def take_gradients(model):
    """The gradients by name; clears them in the model."""
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("case", CASES)
def test_accumulated_micro_batches_equal_the_large_batch(case):
    model, batch = model_and_batch(case)
    loss = model(**batch).loss
    loss.backward()
    wanted = take_gradients(model)
    shifted = case == "causal_lm"
    counted = batch["labels"][..., 1:] if shifted else batch["labels"]
    items = counted.ne(-100).sum()
    total = torch.zeros(())
    for rows in (slice(0, 1), slice(1, 4), slice(4, 6)):
        part = model(**{k: v[rows] for k, v in batch.items()}, num_items_in_batch=items).loss
        part.backward()
        total += part.detach()
    assert_same(total, loss.detach(), 1e-5, "loss")
    found = take_gradients(model)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert_same(found[name], gradient, 1e-5, f"gradient of {name}")


@pytest.mark.parametrize(
    ("architecture", "prefix"), [("encoder", "TfmEncoder"), ("decoder", "TfmDecoder"), ("seq2seq", "TfmSeq2Seq")]
)
def test_question_answering_loss_is_the_mean_of_equal_micro_batches(architecture, prefix):
    model = make(architecture, getattr(hf_tfm, f"{prefix}ForQuestionAnswering"))
    batch = {
        "input_ids": ids(ROWS, LENGTH),
        "start_positions": torch.tensor([0, 2, 1, 4, 3, 5]),
        "end_positions": torch.tensor([3, 2, 4, 6, 5, 6]),
    }
    loss = model(**batch).loss
    parts = [model(**{k: v[rows] for k, v in batch.items()}).loss for rows in (slice(0, 3), slice(3, 6))]
    assert_same(torch.stack(parts).mean(), loss, 1e-6, "loss")


def test_causal_loss_predicts_the_next_token():
    model, tokens = make("decoder"), ids(2, LENGTH)
    output = model(input_ids=tokens, labels=tokens)
    wanted = F.cross_entropy(output.logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    assert_same(output.loss, wanted, 1e-6)


def test_seq2seq_loss_does_not_shift_the_labels():
    model, tokens, labels = make("seq2seq"), ids(2, LENGTH), ids(2, 5, seed=3)
    output = model(input_ids=tokens, labels=labels)
    assert_same(output.loss, F.cross_entropy(output.logits.flatten(0, 1), labels.flatten()), 1e-6)
    assert model.prepare_decoder_input_ids_from_labels(labels).tolist() == [
        [SIZES["bos_token_id"], *row[:-1]] for row in labels.tolist()
    ]


def test_shift_labels_are_used_as_given():
    model, tokens = make("decoder"), ids(2, LENGTH)
    shifted = F.pad(tokens[:, 1:], (0, 1), value=-100)
    found = model(input_ids=tokens, labels=tokens, shift_labels=shifted).loss
    assert_same(found, model(input_ids=tokens, labels=tokens).loss, 1e-6)


@pytest.mark.parametrize(
    ("outputs", "labels", "wanted"),
    [
        (1, torch.tensor([0.5, 1.0]), regression_loss),
        (1, torch.tensor([1, 0]), regression_loss),
        (3, torch.tensor([2, 0]), single_label_loss),
        (3, torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]), multi_label_loss),
    ],
)
def test_problem_type_is_inferred_from_the_labels(outputs, labels, wanted):
    logits = torch.randn(2, outputs)
    assert torch.equal(classification_loss(None, logits, labels), wanted(logits, labels))


def test_inferred_problem_type_is_not_written_into_the_configuration():
    model = make("encoder", hf_tfm.TfmEncoderForSequenceClassification, num_labels=3)
    model(input_ids=ids(2, 5), labels=torch.tensor([0, 2]))
    assert model.config.problem_type is None
    model.config.problem_type = "multi_label_classification"
    with pytest.raises((ValueError, RuntimeError)):
        model(input_ids=ids(2, 5), labels=torch.tensor([0, 2]))


def test_ignored_labels_do_not_count():
    logits, labels = torch.randn(3, 4), torch.tensor([1, -100, 2])
    assert_same(single_label_loss(logits, labels), F.cross_entropy(logits[[0, 2]], labels[[0, 2]]), 1e-6)


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
@pytest.mark.parametrize("case", ["causal_lm", "masked_lm", "seq2seq_lm"])
def test_z_loss_follows_its_formula_in_training_and_accumulates(case, fused):
    (model, batch), coefficient = model_and_batch(case), 0.3
    model.z_loss_coef = coefficient
    with torch.no_grad():
        evaluated, logits = (
            model(**batch, fused_loss=part)[name] for part, name in ((fused, "loss"), (False, "logits"))
        )
    labels = batch["labels"][:, 1:] if case == "causal_lm" else batch["labels"]
    scored = logits[:, : labels.shape[1]].double()[labels != -100]
    assert_same(evaluated, F.cross_entropy(scored, labels[labels != -100]), 1e-5, "evaluated loss, in nats")
    added = coefficient * scored.logsumexp(-1).square().mean()
    assert_same(model.train()(**batch, fused_loss=fused).loss.detach(), evaluated + added, 1e-5, "loss in training")
    items, parts = labels.ne(-100).sum(), (slice(0, 1), slice(1, 4), slice(4, 6))
    micro = [{name: value[rows] for name, value in batch.items()} for rows in parts]
    losses = [model(**part, num_items_in_batch=items, fused_loss=fused).loss.detach() for part in micro]
    assert_same(torch.stack(losses).sum(), evaluated + added, 1e-5, "accumulated loss")


def reference_load_balancing_loss(logits, experts, top_k):
    probabilities = torch.cat([layer.softmax(-1) for layer in logits])
    chosen = F.one_hot(probabilities.topk(top_k, dim=-1).indices, experts).sum(1).float()
    return experts * (chosen.mean(0) * probabilities.mean(0)).sum()


@pytest.mark.parametrize("architecture", ["encoder", "decoder"])
def test_load_balancing_follows_its_formula_and_is_part_of_the_loss(architecture):
    fields = {"mlp_type": "moe", "num_experts": 4, "router_aux_loss_coef": 0.5}
    model, tokens = make(architecture, **fields), ids(2, LENGTH)
    output = model(input_ids=tokens, labels=tokens)
    assert len(output.router_logits) == SIZES["num_hidden_layers"]
    assert_same(output.aux_loss, reference_load_balancing_loss(output.router_logits, 4, 2), 1e-5, "load balancing")
    model.load_balancing.coefficient = 0.0
    assert_same(output.loss, model(input_ids=tokens, labels=tokens).loss + 0.5 * output.aux_loss, 1e-6, "loss")
    assert "router_logits" not in model(input_ids=tokens), "recorded without output_router_logits"
    assert "router_logits" in model(input_ids=tokens, output_router_logits=True)


def test_load_balancing_of_micro_batches_is_weighted_by_their_labels():
    model, tokens = make("decoder", mlp_type="moe"), ids(2, LENGTH)
    scored = tokens[:, 1:].numel()
    without_count = model(input_ids=tokens, labels=tokens)
    only_one = model(input_ids=tokens, labels=tokens, num_items_in_batch=scored)
    one_of_three = model(input_ids=tokens, labels=tokens, num_items_in_batch=3 * scored)
    assert_same(only_one.loss, without_count.loss, 1e-6, "loss of the only micro-batch")
    assert_same(3 * one_of_three.loss, without_count.loss, 1e-6, "three times the loss of one of three")


def test_label_smoothing_of_trainer_shifts_causal_labels(tmp_path):
    model, tokens = make("decoder"), ids(2, LENGTH)
    arguments = TrainingArguments(str(tmp_path), label_smoothing_factor=0.1, use_cpu=True, report_to="none")
    trainer = Trainer(model, arguments)
    with torch.no_grad():
        found = trainer.compute_loss(model, {"input_ids": tokens, "labels": tokens})
        logits = model(input_ids=tokens).logits[:, :-1].flatten(0, 1)
    assert_same(found, F.cross_entropy(logits, tokens[:, 1:].flatten(), label_smoothing=0.1), 1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_loss_of_a_derived_class_does_not_depend_on_its_name(name):
    # transformers chooses the loss by the class name, and takes the causal one, which shifts, for names it cannot parse
    model = make_head(name).eval()
    derived = type("Derived", (type(model),), {})(model.config).eval()
    derived.load_state_dict(model.state_dict())
    with torch.no_grad():
        wanted, found = (instance(**head_inputs(model)).get("loss") for instance in (model, derived))
    assert wanted is None or torch.equal(wanted, found), f"{found} instead of {wanted}: set loss_type in the head"
