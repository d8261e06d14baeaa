"""What every head shares with its native counterpart: the order of arguments and of outputs, and what Trainer, TRL and
PEFT read from them."""

import inspect

import numpy as np
import pytest
import torch
import transformers
from datasets import Dataset
from transformers import Trainer, TrainingArguments

import hf_tfm
from tests.grid import SIZES, assert_same, ids, make

# our class -> the native class with the same arguments
NATIVE = {
    "TfmEncoderModel": "BertModel",
    "TfmEncoderForMaskedLM": "BertForMaskedLM",
    "TfmEncoderForSequenceClassification": "BertForSequenceClassification",
    "TfmEncoderForTokenClassification": "BertForTokenClassification",
    "TfmEncoderForQuestionAnswering": "BertForQuestionAnswering",
    "TfmEncoderForMultipleChoice": "BertForMultipleChoice",
    "TfmEncoderForTextEmbedding": "BertModel",
    "TfmDecoderModel": "LlamaModel",
    "TfmDecoderForCausalLM": "LlamaForCausalLM",
    "TfmDecoderForSequenceClassification": "LlamaForSequenceClassification",
    "TfmDecoderForTokenClassification": "LlamaForTokenClassification",
    "TfmDecoderForQuestionAnswering": "LlamaForQuestionAnswering",
    "TfmDecoderForTextEmbedding": "LlamaModel",
    "TfmSeq2SeqModel": "BartModel",
    "TfmSeq2SeqEncoderModel": "T5EncoderModel",
    "TfmSeq2SeqForConditionalGeneration": "BartForConditionalGeneration",
    "TfmSeq2SeqForSequenceClassification": "BartForSequenceClassification",
    "TfmSeq2SeqForQuestionAnswering": "BartForQuestionAnswering",
}
EVERY_CLASS = pytest.mark.parametrize("name", NATIVE)
HEADS_WITH_LOSS = pytest.mark.parametrize("name", [n for n in NATIVE if "For" in n and "TextEmbedding" not in n])
USED_AS_OPENED = [name for name in NATIVE if name.endswith(("Model", "TextEmbedding"))]
MODELS_WITHOUT_HEAD = pytest.mark.parametrize("name", [name for name in NATIVE if name.endswith("Model")])
FEED_FORWARDS = {"dense": {}, "experts": {"mlp_type": "moe", "num_experts": 4}}
EVERY_FEED_FORWARD = pytest.mark.parametrize("fields", FEED_FORWARDS.values(), ids=FEED_FORWARDS)
# BERT as a decoder, which ours is not
DECODER_ARGUMENTS = {"encoder_hidden_states", "encoder_attention_mask", "past_key_values", "use_cache"}


def architecture_of(name):
    return next(kind for kind in ("encoder", "decoder", "seq2seq") if name.lower().startswith(f"tfm{kind}"))


def make_head(name, **fields):
    return make(architecture_of(name), getattr(hf_tfm, name), **{"num_hidden_layers": 2, **fields})


def arguments(kind):
    return [name for name in inspect.signature(kind.forward).parameters if name not in ("self", "kwargs")]


def test_every_public_model_has_a_native_counterpart():
    public = [getattr(hf_tfm, name) for name in hf_tfm.__all__]
    models = [kind for kind in public if isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)]
    assert {kind.__name__ for kind in models} == set(NATIVE)


@EVERY_CLASS
def test_arguments_have_the_order_of_the_native_class(name):
    native = arguments(getattr(transformers, NATIVE[name]))
    if architecture_of(name) == "encoder":
        native = [argument for argument in native if argument not in DECODER_ARGUMENTS]
    ours = arguments(getattr(hf_tfm, name))
    # without a cache, heads that read the source have no use for the last argument
    wanted = native if native[-1] in ours else native[:-1]
    assert ours[: len(wanted)] == wanted


def inputs_of(name, rows=2, length=6):
    """Input ids, mask and labels for a head; the second row is padded."""
    tokens, mask = ids(rows, length), torch.ones(rows, length, dtype=torch.long)
    tokens[:, -1] = SIZES["eos_token_id"]
    tokens[1, 4:], mask[1, 4:] = SIZES["pad_token_id"], 0
    batch = {"input_ids": tokens, "attention_mask": mask}
    if "SequenceClassification" in name:
        batch["labels"] = torch.arange(rows) % 2
    elif "MultipleChoice" in name:
        batch = {key: value[:, None].repeat(1, 3, 1) for key, value in batch.items()}
        batch["labels"] = torch.arange(rows) % 2
    elif "QuestionAnswering" in name:
        batch |= {
            "start_positions": torch.zeros(rows, dtype=torch.long),
            "end_positions": torch.ones(rows, dtype=torch.long),
        }
    elif "TokenClassification" in name:
        batch["labels"] = (tokens % 2).masked_fill(mask == 0, -100)
    elif "MaskedLM" in name or "CausalLM" in name or "ConditionalGeneration" in name:
        batch["labels"] = tokens.masked_fill(mask == 0, -100)
    elif name == "TfmSeq2SeqModel":
        batch["decoder_input_ids"] = ids(rows, 4)
    return batch


def without_labels(batch):
    return {key: value for key, value in batch.items() if key not in ("labels", "start_positions", "end_positions")}


@EVERY_FEED_FORWARD
@HEADS_WITH_LOSS
def test_a_tuple_has_the_loss_and_then_the_logits(name, fields):
    model, batch = make_head(name, **fields), inputs_of(name)
    with torch.no_grad():
        output, as_tuple = model(**batch), model(**batch, return_dict=False)
    first = [key for key in ("loss", "logits", "start_logits", "end_logits") if key in output]
    assert list(output)[: len(first)] == first
    for key, value in zip(first, as_tuple, strict=False):
        assert_same(value, output[key], 1e-6, key)


@EVERY_CLASS
def test_a_configuration_that_asks_for_tuples_gets_the_same_ones(name):
    # heads read the output of the model below them by name
    model, batch = make_head(name, return_dict=False), inputs_of(name)
    with torch.no_grad():
        found, output = model(**batch), model(**batch, return_dict=True)
    assert isinstance(found, tuple)
    wanted = output.to_tuple()
    assert [type(part) for part in found] == [type(part) for part in wanted]
    for part, other in zip(found, wanted, strict=True):
        if isinstance(part, torch.Tensor):
            assert torch.equal(part, other)


@EVERY_FEED_FORWARD
@HEADS_WITH_LOSS
@pytest.mark.parametrize("recorded", [False, True], ids=["plain", "with hidden states"])
def test_plain_trainer_takes_the_logits_for_predictions(name, fields, recorded, tmp_path):
    # the experts' load-balancing loss came before the logits, and a prediction was a tuple that began with it
    model, batch = make_head(name, **fields), inputs_of(name)
    if recorded:
        model.set_attn_implementation("eager")
        model.config.output_hidden_states = model.config.output_attentions = True
    with torch.no_grad():
        wanted = model(**batch)
    seen = []

    def preprocess(logits, labels):
        seen.append(logits)
        return logits[0].argmax(-1) if isinstance(logits, tuple) else logits.argmax(-1)

    rows = Dataset.from_dict({key: value.tolist() for key, value in batch.items()}).with_format("torch")
    settings = {"output_dir": str(tmp_path), "use_cpu": True, "report_to": "none", "disable_tqdm": True}
    names = [key for key in ("logits", "start_logits", "end_logits") if key in wanted]
    trainer = Trainer(model, TrainingArguments(**settings), eval_dataset=rows)
    result = trainer.predict(rows)
    predictions = result.predictions if isinstance(result.predictions, tuple) else (result.predictions,)
    assert len(predictions) == len(names)
    for key, found in zip(names, predictions, strict=True):
        assert_same(torch.from_numpy(np.asarray(found)), wanted[key], 1e-5, key)
    assert abs(trainer.evaluate()["eval_loss"] - wanted.loss.item()) < 1e-4
    trainer = Trainer(
        model,
        TrainingArguments(**settings),
        eval_dataset=rows,
        preprocess_logits_for_metrics=preprocess,
        compute_metrics=lambda prediction: {"rows": len(prediction.predictions)},
    )
    assert trainer.evaluate()["eval_rows"] == 2
    assert len(seen[0]) == 2, "two rows, or the start and end of two spans"


@EVERY_CLASS
def test_router_logits_of_a_dense_model_are_none(name):
    model, batch = make_head(name), inputs_of(name)
    with torch.no_grad():
        wanted = model(**batch)
        for asked in ({"output_router_logits": True}, {"output_router_logits": True, "return_dict": False}):
            output = model(**batch, **asked)
            values = output if isinstance(output, tuple) else output.values()
            assert () not in [value for value in values if isinstance(value, tuple)]
    assert list(model(**batch, output_router_logits=True)) == list(wanted)
    # which TRL takes as a sign of experts
    assert not hasattr(model.config, "output_router_logits")


@MODELS_WITHOUT_HEAD
def test_router_logits_of_experts_are_recorded_in_every_layer(name):
    model, batch = make_head(name, **FEED_FORWARDS["experts"]), inputs_of(name)
    recorded = [value for key, value in model(**batch, output_router_logits=True).items() if "router" in key]
    assert recorded
    assert all(len(layers) == 2 for layers in recorded)
    assert model.config.router_aux_loss_coef == 0.01


PREFIX_TASKS = {
    "SequenceClassification": "SEQ_CLS",
    "TokenClassification": "TOKEN_CLS",
    "QuestionAnswering": "QUESTION_ANS",
    "TextEmbedding": "FEATURE_EXTRACTION",
}


def make_prefixed(name, **fields):
    peft = pytest.importorskip("peft")
    task = PREFIX_TASKS[name.split("For")[1]]
    return peft.get_peft_model(make_head(name, **fields), peft.PrefixTuningConfig(task_type=task, num_virtual_tokens=3))


@pytest.mark.parametrize("fields", [{}, {"position_type": "alibi"}, {"sliding_window": 4}], ids=str)
@pytest.mark.parametrize(
    "name", [f"{stack}For{head}" for stack in ("TfmEncoder", "TfmDecoder") for head in PREFIX_TASKS]
)
def test_prefix_tuning_trains_the_prefix_and_padding_changes_nothing(name, fields):
    head = name.split("For")[1]
    model, batch = make_prefixed(name, **fields).eval(), inputs_of(name)
    output = model(**batch)
    shorter = model(**{key: value[1:, :4] if value.dim() > 1 else value[1:] for key, value in batch.items()})
    key = next(key for key in ("logits", "start_logits", "pooler_output") if key in output)
    found = output[key][1:] if head in ("SequenceClassification", "TextEmbedding") else output[key][1:, :4]
    assert_same(found, shorter[key], what=key)
    loss = output.loss if head != "TextEmbedding" else output.pooler_output.square().sum() + output.pooler_output.sum()
    loss.backward()
    [prefix] = [parameter for key, parameter in model.named_parameters() if "prompt_encoder" in key]
    assert prefix.grad.abs().max() > 0


@pytest.mark.parametrize("head", ["SequenceClassification", "QuestionAnswering"])
def test_prefix_tuning_of_an_encoder_decoder_is_refused(head):
    name = f"TfmSeq2SeqFor{head}"
    with pytest.raises(ValueError, match=r"past.key.values"):
        make_prefixed(name)(**without_labels(inputs_of(name)))


def writers_of(name):
    """The heads whose checkpoints have all that a model without a loss of its own reads."""
    half = {"TfmSeq2SeqEncoderModel"} - {name}
    return [writer for writer in NATIVE if architecture_of(writer) == architecture_of(name) and writer not in half]


@pytest.mark.parametrize("classifier_dense", ["pooled", "all"])
@pytest.mark.parametrize("name", USED_AS_OPENED)
def test_models_without_a_loss_have_no_random_weights_whatever_head_wrote_the_checkpoint(
    tmp_path, name, classifier_dense
):
    # a classifier is random until it is trained; the vectors of these are used as they are
    fields = {"classifier_dense": classifier_dense, "classifier_norm": True, "pooling": "mean"}
    if architecture_of(name) == "encoder":
        fields["add_pooling_layer"] = True
    for writer in writers_of(name):
        make_head(writer, **fields).save_pretrained(tmp_path / writer)
        _, report = getattr(hf_tfm, name).from_pretrained(tmp_path / writer, output_loading_info=True)
        assert not report["missing_keys"], f"random in a {name} from a {writer}: {sorted(report['missing_keys'])}"


def test_a_pooling_layer_that_was_saved_is_opened(tmp_path):
    fields = {"classifier_dense": "pooled", "add_pooling_layer": True}
    for writer in ("TfmEncoderModel", "TfmEncoderForSequenceClassification"):
        saved = make_head(writer, **fields)
        saved.save_pretrained(tmp_path / writer)
        opened = hf_tfm.TfmEncoderModel.from_pretrained(tmp_path / writer)
        wanted = saved.base_model(ids(2, 5)).pooler_output
        assert_same(opened(ids(2, 5)).pooler_output, wanted, 1e-6, "pooled vector")
