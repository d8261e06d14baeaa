"""The last tap of the lens is the model's own answer, and what comes before is the model's head on other states."""

import pytest
import torch

import hf_tfm
from hf_tfm.inspection.lens import logit_lens
from hf_tfm.inspection.predicting_heads import head_of
from hf_tfm.inspection.recording import record
from tests.grid import AXES, LANGUAGE_MODELS, assert_same, config_fields, ids, make, pairwise
from tests.inspection.tiny import make_recording

HEADS = {
    "plain": {},
    "untied_bias": {"tie_word_embeddings": False, "lm_head_bias": True},
    "cap_scale": {"final_logit_softcapping": 3.0, "logit_scale": 0.5, "width_scaling": "mup", "mup_base_width": 16},
    "transform": {"lm_head_type": "transform", "lm_head_bias": True},
    "factorised": {"embedding_size": 16},
}
ROWS = pairwise({"wiring": AXES["wiring"], "norm": AXES["norm"], "head": HEADS})


def fields_of(row: dict[str, str]) -> dict:
    return {**config_fields({axis: row[axis] for axis in ("wiring", "norm")}), **HEADS[row["head"]]}


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
@pytest.mark.parametrize("choices", ROWS, ids=lambda row: "-".join(row.values()))
def test_last_tap_equals_the_logits_bitwise(architecture, choices):
    recording = make_recording(architecture, **fields_of(choices), depth_scaling="none")
    taps, gap = logit_lens(recording)
    assert gap == 0.0
    final = recording.output.logits[0]
    assert (taps[-1].labels == final.topk(10).indices).all()
    assert taps[-1].divergence.abs().max() < 1e-6
    halves = 3 if architecture == "seq2seq" else 2
    assert len(taps) == 1 + halves * recording.predicting.stack.config.num_hidden_layers
    # each state goes through a norm of its own
    stack = recording.predicting
    with torch.no_grad():
        middle = recording.model.compute_logits(stack.stack.norm(stack.branches[1].after[None]))[0]
    assert_same(taps[2].probabilities, middle.softmax(-1).topk(10).values, 1e-6, "a tap in the middle")
    entropy = torch.distributions.Categorical(logits=middle).entropy()
    assert_same(taps[2].entropy, entropy, 1e-5, "entropy")
    divergence = torch.nn.functional.kl_div(
        middle.log_softmax(-1), final.log_softmax(-1), log_target=True, reduction="none"
    )
    assert_same(taps[2].divergence, divergence.sum(-1), 1e-5, "divergence")


def test_deepnorm_and_positions():
    recording = make_recording("decoder", residual_type="post", depth_scaling="deepnorm")
    taps, gap = logit_lens(recording, positions=[2, 5], top=3)
    assert gap == 0.0
    assert taps[-1].labels.tolist() == recording.output.logits[0, [2, 5]].topk(3).indices.tolist()


@pytest.mark.parametrize(
    "head",
    [
        hf_tfm.TfmEncoderForSequenceClassification, hf_tfm.TfmDecoderForSequenceClassification,
        hf_tfm.TfmSeq2SeqForSequenceClassification, hf_tfm.TfmEncoderForTokenClassification,
        hf_tfm.TfmDecoderForTokenClassification, hf_tfm.TfmEncoderForQuestionAnswering,
        hf_tfm.TfmDecoderForQuestionAnswering, hf_tfm.TfmSeq2SeqForQuestionAnswering,
    ],
    ids=lambda head: head.__name__,
)  # fmt: skip
def test_every_head_has_a_lens(head):
    architecture = next(name for name in ("seq2seq", "encoder", "decoder") if name in head.__name__.lower())
    for dense, pooling in (("none", "mean"), ("all", "first"), ("pooled", "late")):
        fields = {"classifier_dense": dense, "pooling": pooling, "classifier_norm": True}
        _, gap = logit_lens(make_recording(architecture, head=head, **fields))
        assert gap == 0.0


def test_a_model_without_a_head_has_no_lens():
    recording = make_recording("encoder", head=hf_tfm.TfmEncoderForTextEmbedding)
    assert head_of(recording.model, recording.inputs) is None
    with pytest.raises(ValueError, match="A TfmEncoderForTextEmbedding predicts no labels"):
        logit_lens(recording)


def test_a_head_of_a_user_that_is_built_on_ours_has_a_lens():
    class OwnHead(hf_tfm.TfmDecoderForCausalLM):
        pass

    model = make("decoder", OwnHead)
    assert logit_lens(record(model, {"input_ids": ids(1, 5)})[0])[1] == 0.0
