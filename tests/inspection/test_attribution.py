"""The parts of a logit sum to it, in every wiring, and each part is what it is called."""

import pytest
import torch

import hf_tfm
from hf_tfm.inspection.input_attribution import TOLERANCE, integrated_gradients
from hf_tfm.inspection.logit_attribution import attribution
from hf_tfm.inspection.recording import record
from hf_tfm.inspection.skeleton import Skeleton
from hf_tfm.inspection.stream import stream_growth
from tests.grid import AXES, LANGUAGE_MODELS, make, pairwise
from tests.inspection.tiny import make_recording

CHOICES = {
    "wiring": AXES["wiring"],
    "norm": AXES["norm"],
    "heads": AXES["heads"],
    "biases": {"without": {}, "biases": {"qkv_bias": True, "out_bias": True, "mlp_bias": True, "lm_head_bias": True}},
    "head": {
        "tied": {},
        "untied": {"tie_word_embeddings": False, "logit_scale": 0.5, "width_scaling": "mup", "mup_base_width": 16},
        "cap": {"final_logit_softcapping": 3.0, "logit_scale": 2.0},
        "factorised": {"embedding_size": 16, "embedding_norm": "after_positions"},
        "transform": {"lm_head_type": "transform"},
    },
    "scores": AXES["scores"],
    "extras": {
        "plain": {},
        "scale": {"residual_scale": 0.5, "first_layer_norm": False, "layer_scale_init_value": 0.5},
        "deepnorm": {"depth_scaling": "deepnorm"},
        "qk_norm": {"qk_norm": "head", "qk_norm_position": "after_rotation", "sliding_window": 3},
        "values": {"value_residual": True, "qkv_bias": True},
        "experts": {"mlp_type": "moe", "num_experts": 4},
    },
}


def fields_of(row: dict[str, str]) -> dict:
    fields = {}
    for axis, value in row.items():
        fields |= CHOICES[axis][value]
    if fields.get("depth_scaling") == "deepnorm":
        # DeepNorm is a post-norm
        fields["residual_type"] = "post"
    if fields.get("mlp_type") == "moe":
        # experts have no biases
        fields["mlp_bias"] = False
    return {**fields, "num_hidden_layers": 2}


ROWS = pairwise(CHOICES)


def explained(recording):
    """The prediction with the largest logit in magnitude, so that relative errors mean something."""
    logits = recording.output.logits[0]
    prediction, label = divmod(int(logits.abs().argmax()), logits.shape[-1])
    return prediction, label


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
@pytest.mark.parametrize(("double", "limit"), [(True, 1e-9), (False, 1e-4)], ids=["float64", "float32"])
def test_parts_sum_to_the_logit_and_sources_to_their_head(architecture, double, limit):
    for row in ROWS[double::2]:
        recording = make_recording(architecture, double, **fields_of(row))
        prediction, label = explained(recording)
        found = attribution(recording, prediction, label)
        assert found.gap <= limit * abs(found.logit), f"{row}: {found.gap} of {found.logit}"
        total = sum(part.value for part in found.parts)
        assert abs(total - found.logit) <= limit * abs(found.logit), row
        assert bool(found.note) == (row["head"] == "transform"), row
        value = torch.tensor(found.logit, dtype=torch.float64) * found.scale
        value = value if found.cap is None else found.cap * torch.tanh(value / found.cap)
        assert abs(value - found.final_logit) <= 1e-5 * abs(found.final_logit), row
        assert abs(found.final_logit - recording.output.logits[0, prediction, label]) <= 1e-6, row
        heads = [part for part in found.parts if part.kind == "head"]
        assert len(heads) == len(found.sources) == sum(len(call.weights) for call in recording.predicting.attentions)
        for part, sources in zip(heads, found.sources, strict=True):
            assert abs(sources.sum() - part.value) <= limit * abs(found.logit), row
        growth = [stream_growth(recording, stack).gap for stack in recording.stacks.values()]
        assert max(growth) <= (1e-12 if double else 1e-5), row


@pytest.mark.parametrize("wiring", AXES["wiring"])
def test_adding_a_part_once_more_changes_the_logit_by_the_part(wiring):
    fields = {"norm_type": "layer_norm", "qkv_bias": True, "out_bias": True, "num_key_value_heads": 2,
              "value_residual": True}  # fmt: skip
    recording = make_recording("seq2seq", True, residual_type=wiring, **fields)
    prediction, label = explained(recording)
    found = attribution(recording, prediction, label)
    skeleton = Skeleton(recording)
    values = {(part.layer, part.attention, part.head): part.value for part in found.parts if part.kind == "head"}
    with torch.no_grad():
        for i, branch in enumerate(recording.predicting.branches):
            call = skeleton.call_of(branch)
            for head in range(0 if call is None else len(call.weights)):
                leaves = [leaf.clone() for leaf in skeleton.leaves]
                size = call.module.head_dim
                bias = call.module.v_proj.bias
                if call.kind == "self" and branch.layer > 0:
                    first_bias = skeleton.stack.attentions[0].module.v_proj.bias
                    bias = torch.stack((bias, first_bias)).T @ call.module.value_residual.mix
                bias = bias.view(-1, size)[head // call.module.num_key_value_groups]
                own = call.outputs[head] - call.weights[head].sum(-1, keepdim=True) * bias
                leaves[i][0, :, head * size : (head + 1) * size] += own
                states, _ = skeleton.run(skeleton.embeddings, leaves)
                change = skeleton.score(states, prediction, label) - found.logit
                assert abs(change - values[branch.layer, call.kind, head]) < 1e-5


def test_a_replay_by_hand_gives_the_same_parts():
    """Pre-norm with RMS: direct logit attribution by its formula, w * scale * W_U."""
    recording = make_recording("decoder", True, out_bias=True, mlp_bias=True)
    stack, model = recording.predicting, recording.model
    prediction, label = explained(recording)
    found = attribution(recording, prediction, label)
    norm = stack.stack.norm
    last = stack.stream[-1][prediction]
    scale = (last.square().mean() + norm.variance_epsilon).rsqrt()
    direction = norm.weight * scale * model.lm_head.weight[label]
    parts = {(part.kind, part.layer): part.value for part in found.parts}
    assert abs(parts["embedding", None] - direction @ stack.embeddings[prediction]) < 1e-9
    for branch in stack.branches:
        if branch.name == "mlp":
            assert abs(parts["feed-forward", branch.layer] - direction @ branch.output[prediction]) < 1e-9
        else:
            bias = direction @ model.model.layers[branch.layer].self_attn.o_proj.bias
            assert abs(parts["bias", branch.layer] - bias) < 1e-9


def test_norms_of_an_unknown_kind_are_refused():
    recording = make_recording("decoder", residual_type="inner")
    recording.predicting.branches[0].residual.branch_norm = torch.nn.GroupNorm(1, 32)
    with pytest.raises(ValueError, match="this model has a GroupNorm"):
        attribution(recording, 0, 0)


@pytest.mark.parametrize(
    "head", [hf_tfm.TfmEncoderForSequenceClassification, hf_tfm.TfmSeq2SeqForQuestionAnswering,
             hf_tfm.TfmDecoderForTokenClassification], ids=lambda head: head.__name__,
)  # fmt: skip
@pytest.mark.parametrize("dense", ["none", "all"])
def test_other_heads_sum_up(head, dense):
    architecture = next(name for name in ("seq2seq", "encoder", "decoder") if name in head.__name__.lower())
    recording = make_recording(architecture, True, head, classifier_dense=dense, pooling="mean", norm_type="layer_norm")
    found = attribution(recording, 0, 1)
    assert found.gap <= 1e-9 * max(1.0, abs(found.logit))
    assert bool(found.note) == (dense == "all")


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_integrated_gradients_are_complete(architecture):
    recording = make_recording(architecture, num_hidden_layers=2, position_type="learned")
    prediction, label = explained(recording)
    found = integrated_gradients(recording, prediction, label, baseline=2)
    assert found.completeness <= TOLERANCE
    assert {name: len(scores) for name, scores in found.scores.items()} == {
        name: len(stack.ids) for name, stack in recording.stacks.items()
    }
    vectors = [stack.stack.embed_tokens(torch.full_like(stack.ids, 2)) for stack in recording.stacks.values()]
    names = ["inputs_embeds", "decoder_inputs_embeds"][: len(vectors)]
    with torch.no_grad():
        begin = recording.model(**dict(zip(names, (v[None] for v in vectors), strict=True))).logits[
            0, prediction, label
        ]
    change = recording.output.logits[0, prediction, label] - begin
    assert abs(sum(scores.sum() for scores in found.scores.values()) - change) <= 1.01 * TOLERANCE * abs(change)


def test_too_few_steps_are_said():
    model = make("decoder", num_hidden_layers=2)
    recording = record(model, {"input_ids": torch.tensor([[5, 6, 7]])})[0]
    found = integrated_gradients(recording, 2, 3, max_steps=1)
    assert found.steps == 1
    assert found.completeness > TOLERANCE
